"""OpenAI's CLIP ViT-B/16, applied to every frame."""

from __future__ import annotations

import petl_bench as pb

_WHERE = "github.com/openai/CLIP (a TorchScript archive there: save its state dict as this file first)"


@pb.register_backbone("clip-b16")
class CLIPB16(pb.Backbone):
    """CLIP ViT-B/16: frames encoded one by one and averaged, 77 text tokens, D = 512; 149,620,737 parameters.

    Frames are normalised with ImageNet's mean and standard deviation, as ViFi-CLIP and X-CLIP do; CLIP itself was
    trained with others.
    """

    paper = pb.Paper(
        title="Learning Transferable Visual Models From Natural Language Supervision",
        venue="ICML 2021",
        url="https://arxiv.org/abs/2103.00020",
        bibtex="""@inproceedings{radford2021clip,
  title     = {Learning Transferable Visual Models From Natural Language Supervision},
  author    = {Radford, Alec and Kim, Jong Wook and Hallacy, Chris and Ramesh, Aditya and Goh, Gabriel and
               Agarwal, Sandhini and Sastry, Girish and Askell, Amanda and Mishkin, Pamela and Clark, Jack and
               Krueger, Gretchen and Sutskever, Ilya},
  booktitle = {International Conference on Machine Learning},
  year      = {2021}
}""",
        licence="MIT",
    )
    config = pb.CLIPConfig()
    published = (
        pb.PublishedWeights(file="ViT-B-16-weights.pth", where=_WHERE, licence="MIT"),
        pb.PublishedWeights(file="clip-vit-b-16.safetensors", where=_WHERE, licence="MIT"),
    )
