"""Tokens on disk."""

from vqkit.tokens.shards import Tokens as Tokens
from vqkit.tokens.shards import TokenShards as TokenShards
from vqkit.tokens.shards import shard_path as shard_path
from vqkit.tokens.shards import source_of as source_of
from vqkit.tokens.shards import write_shard as write_shard
