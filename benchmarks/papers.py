"""Papers that several methods, settings and backbones cite."""

from __future__ import annotations

from petl_bench.api.paper import Paper

INTERNVID = Paper(
    title="InternVid: A Large-scale Video-Text Dataset for Multimodal Understanding and Generation",
    venue="ICLR 2024",
    url="https://arxiv.org/abs/2307.06942",
    bibtex="""@inproceedings{wang2024internvid,
  title     = {InternVid: A Large-scale Video-Text Dataset for Multimodal Understanding and Generation},
  author    = {Wang, Yi and He, Yinan and Li, Yizhuo and Li, Kunchang and Yu, Jiashuo and Ma, Xin and Li, Xinhao and
               Chen, Guo and Chen, Xinyuan and Wang, Yaohui and Luo, Ping and Liu, Ziwei and Wang, Yali and Wang, Limin
               and Qiao, Yu},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}""",
    licence="Apache-2.0 (code)",
)
VIFI_CLIP_PAPER = Paper(
    title="Fine-tuned CLIP Models are Efficient Video Learners",
    venue="CVPR 2023",
    url="https://arxiv.org/abs/2212.03640",
    bibtex="""@inproceedings{rasheed2023vificlip,
  title     = {Fine-tuned {CLIP} Models are Efficient Video Learners},
  author    = {Rasheed, Hanoona and Khattak, Muhammad Uzair and Maaz, Muhammad and Khan, Salman and
               Khan, Fahad Shahbaz},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2023}
}""",
    licence="no licence file",
)
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
MSTA_PAPER = Paper(
    title="Efficient Transfer Learning for Video-language Foundation Models",
    venue="CVPR 2025",
    url="https://arxiv.org/abs/2411.11223",
    bibtex="""@inproceedings{chen2025msta,
  title     = {Efficient Transfer Learning for Video-language Foundation Models},
  author    = {Chen, Haoxing and Huang, Zizheng and Hong, Yan and Wang, Yanshuo and Lyu, Zhongcai and Xu, Zhuoer and
               Lan, Jun and Gu, Zhangxuan},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages     = {29129--29138},
  year      = {2025}
}""",
    licence="none: no code was published",
)

CLIP_PAPER = Paper(
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
CLIP4CLIP_PAPER = Paper(
    title="CLIP4Clip: An Empirical Study of CLIP for End to End Video Clip Retrieval and Captioning",
    venue="Neurocomputing 2022",
    url="https://arxiv.org/abs/2104.08860",
    bibtex="""@article{luo2022clip4clip,
  title   = {{CLIP4Clip}: An Empirical Study of {CLIP} for End to End Video Clip Retrieval and Captioning},
  author  = {Luo, Huaishao and Ji, Lei and Zhong, Ming and Chen, Yang and Lei, Wen and Duan, Nan and Li, Tianrui},
  journal = {Neurocomputing},
  volume  = {508},
  pages   = {293--304},
  year    = {2022}
}""",
    licence="MIT",
)
