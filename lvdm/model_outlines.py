"""The outlines of the models whose YAML files come with the package, by hash of the node `model`.

Made by `python -m scripts.write_parameters` from the files in `configs/` and of the embedded model; run it after them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lvdm.model_outline import AutoencoderOutline, ModelOutline, UNetOutline

OUTLINES: Mapping[str, ModelOutline] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "5ed70ef9289b7776ea8145c576ab18eb060c63556403c1e8bae115e6167605b1",  # config
            ),
            ModelOutline(
                16,
                True,
                1000,
                UNetOutline(9, 32, 1, (2, 4), (1, 2, 4), 32, 1, True),
                AutoencoderOutline(4, (16, 32, 64), False),
            ),
        ),
        **dict.fromkeys(
            (
                "c7fd94a613af33570f88a1f3f743178a518d24ecf0ed3e877faaee315921d826",  # config
            ),
            ModelOutline(
                16,
                False,
                1000,
                UNetOutline(5, 32, 1, (2,), (1, 2, 4), 32, 8, False),
                AutoencoderOutline(4, (16, 32, 64), False),
            ),
        ),
        **dict.fromkeys(
            (
                "bfc73011e6cb191bb6b296d90c84c2c382107771b50fb81dc7646aa9f0365379",  # 1024_v1.0
                "4b928c75af8c0a84b50ee0268a0f0c92215266efbec840d9d29cb8d1a2a5da3a",  # 256_v1.0
                "7d5e35d5246196259e849a60e3c45210068dba992fc25f863eb7fa0d6dc9e2c4",  # 512_interp_v1.0
                "7d5e35d5246196259e849a60e3c45210068dba992fc25f863eb7fa0d6dc9e2c4",  # 512_v1.0
            ),
            ModelOutline(
                64,
                True,
                1000,
                UNetOutline(8, 320, 2, (4, 2, 1), (1, 2, 4, 4), 64, 8, True),
                AutoencoderOutline(8, (128, 256, 512, 512), False),
            ),
        ),
        **dict.fromkeys(
            (
                "53920d04ad7d47c82a9f69ecf591398cc7de51765c6a8e1a63a07fc6c5014a5d",  # i2v_512_v1.0
            ),
            ModelOutline(
                64,
                True,
                1000,
                UNetOutline(4, 320, 2, (4, 2, 1), (1, 2, 4, 4), 64, 8, True),
                AutoencoderOutline(8, (128, 256, 512, 512), False),
            ),
        ),
        **dict.fromkeys(
            (
                "1ad591f6cf4365ecfd51bef37959e75810b5ce53ecf4993f53891f7f2bfc95dc",  # makeyourvideo_256_v1.0
            ),
            ModelOutline(
                64,
                False,
                1000,
                UNetOutline(5, 320, 2, (4, 2, 1), (1, 2, 4, 4), 64, 8, False),
                AutoencoderOutline(8, (128, 256, 512, 512), False),
            ),
        ),
        **dict.fromkeys(
            (
                "d058ce0c4d1d715783bd8cec9af093298eb88d04a47b6fe68b4504ad5ce578a3",  # t2v_1024_v1.0
                "f0b5f0d9acfeeb753f7b96a914ffb8d2c1d4a3755dbb0cdc21533294dc948461",  # t2v_512_v1.0
                "996b9178fef10c5e9ec386df60d6d615ac48b39e5e9095ba2f2b553310c3fadf",  # t2v_512_v2.0
            ),
            ModelOutline(
                64,
                False,
                1000,
                UNetOutline(4, 320, 2, (4, 2, 1), (1, 2, 4, 4), 64, 8, True),
                AutoencoderOutline(8, (128, 256, 512, 512), False),
            ),
        ),
        **dict.fromkeys(
            (
                "064bf997c558d1bba0b8bd6994df2d6e719d5734be19681e4c1f4f3d97b55faa",  # tooncrafter_512_v1.0
            ),
            ModelOutline(
                64,
                True,
                1000,
                UNetOutline(8, 320, 2, (4, 2, 1), (1, 2, 4, 4), 64, 8, True),
                AutoencoderOutline(8, (128, 256, 512, 512), True),
            ),
        ),
    }
)
