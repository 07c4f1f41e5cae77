"""A source -> batches; knows no model."""

from vqkit.data.batches import Readable as Readable
from vqkit.data.batches import mixed as mixed
from vqkit.data.batches import shuffled as shuffled
from vqkit.data.batches import spread as spread
from vqkit.data.batches import sweep as sweep
from vqkit.data.dataset import Dataset as Dataset
from vqkit.data.dataset import open_dataset as open_dataset
from vqkit.data.folders import named_files as named_files
from vqkit.data.folders import told_apart as told_apart
from vqkit.data.records import Records as Records
from vqkit.data.records import Source as Source
from vqkit.data.records import Split as Split
from vqkit.data.sources import BUILT_IN as BUILT_IN
from vqkit.data.sources import open_source as open_source
