"""The retrieval table: recalls and ranks of both directions, and trained parameters, of every method and data set."""

from __future__ import annotations

import petl_bench as pb
from petl_bench.tables.retrieval_table import RetrievalTable as Base


@pb.register_table("retrieval")
class RetrievalTable(Base):
    """Video-text retrieval: R@1, R@5, R@10, median and mean rank of both directions, mean and spread over seeds."""

    setting = "retrieval"
    title = "Video-text retrieval: recalls in percent, and ranks"
