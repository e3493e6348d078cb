"""Papers that several settings cite."""

from __future__ import annotations

from petl_bench.api.method import Paper

XCLIP = Paper(
    title="Expanding Language-Image Pretrained Models for General Video Recognition",
    venue="ECCV 2022",
    url="https://arxiv.org/abs/2208.02816",
    bibtex="""@inproceedings{ni2022xclip,
  title     = {Expanding Language-Image Pretrained Models for General Video Recognition},
  author    = {Ni, Bolin and Peng, Houwen and Chen, Minghao and Zhang, Songyang and Meng, Gaofeng and Fu, Jianlong and
               Xiang, Shiming and Ling, Haibin},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year      = {2022}
}""",
    licence="MIT",
)
