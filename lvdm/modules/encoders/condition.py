"""The text and image encoders of CLIP (Radford et al. 2021), frozen, as open_clip builds them.

Nothing is downloaded: a model checkpoint contains the weights of both encoders.

Only modules and parameters whose names are keys of the released checkpoints are used (`token_embedding`,
`transformer.resblocks`, `visual.conv1` ...): those cannot change without breaking every stored CLIP. open_clip's own
forward methods are not used: whether a transformer takes tokens or batch first has changed between its releases, and
the wrong one is silent (attention then runs over the batch). `_run_blocks` asks torch's attention module instead.
"""

from __future__ import annotations

import copy
import dataclasses
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from einops import rearrange
from kornia.geometry.transform import resize
from torch import Tensor, nn

from lvdm.declaration.ranges import Tokens, with_ranges
from lvdm.documents import short_text
from lvdm.suggestions import suggest

SMALL_VOCABULARY = Path(__file__).with_name("bpe_small.txt.gz")
"""Merges of the "small" vocabulary, made by scripts/make_small_vocabulary.py."""

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Statistics of the images CLIP was trained on, per RGB channel in [0, 1]."""

Vocabulary = Literal["clip", "small"]

LARGEST_SIZE = 65_536
LARGEST: Mapping[str, int] = types.MappingProxyType({"layers": 256, "vocab_size": 1_000_000})
"""The largest numbers of a CLIP configuration that are built."""


@dataclass(frozen=True)
class PromptReading:
    """What the text encoder reads of a prompt.

    tokens  of the prompt, start and end included
    limit   how many it reads
    unread  the words that are cut off, lower-cased; "" for none
    """

    tokens: int
    limit: int
    unread: str


@cache
def tokenizer(vocabulary: Vocabulary) -> open_clip.SimpleTokenizer:
    """The byte-pair tokenizer of a vocabulary: CLIP's own, or the "small" one for models trained on simple captions."""
    if vocabulary == "small":
        return open_clip.SimpleTokenizer(bpe_path=str(SMALL_VOCABULARY))
    return open_clip.SimpleTokenizer()


def small_vocabulary_size() -> int:
    """Tokens of the "small" vocabulary: the `text_cfg.vocab_size` that goes with it."""
    return tokenizer("small").vocab_size


def clip_config(arch: str, model_cfg: Mapping[str, Any] | None) -> dict[str, Any]:
    """The open_clip configuration `{embed_dim, vision_cfg, text_cfg}`: `model_cfg` if given, else that named `arch`.

    Raises ValueError for an unknown name, and for encoders that are not CLIP's own vision and text transformers.
    """
    if model_cfg is None and arch not in open_clip.list_models():  # open_clip would look for other names on the network
        raise ValueError(f"arch {arch!r} is not an open_clip architecture; the released models use 'ViT-H-14'")
    config = open_clip.get_model_config(arch) if model_cfg is None else copy.deepcopy(dict(model_cfg))
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(config)
    unknown = set(config) - {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
    if missing or unknown:
        problem = f"lacks {sorted(missing)}" if missing else f"has unsupported {sorted(unknown)}"
        raise ValueError(f"the CLIP configuration {problem}; it should hold embed_dim, vision_cfg and text_cfg")
    for place, known in (("vision_cfg", open_clip.CLIPVisionCfg), ("text_cfg", open_clip.CLIPTextCfg)):
        if model_cfg is not None:
            _check_part(place, config[place], {field.name: field.default for field in dataclasses.fields(known)})
    if "timm_model_name" in config["vision_cfg"] or "hf_model_name" in config["text_cfg"]:
        raise ValueError("encoders from timm or Hugging Face are not supported, only CLIP's own transformers")
    for place in ("vision_cfg", "text_cfg"):
        for key, value in config[place].items():
            largest = LARGEST.get(key, LARGEST_SIZE)
            if isinstance(value, int | float) and not 0 <= value <= largest:
                raise ValueError(f"{place}.{key} should be a number from 0 to {largest:,}, it is {short_text(value)}")
    return config


def _check_part(place: str, part: Any, defaults: Mapping[str, Any]) -> None:
    """Raise ValueError for a part of a configuration that open_clip would not read: other keys, or other types."""
    if not isinstance(part, Mapping):
        raise ValueError(f"{place} should be a mapping such as {{width: 512, layers: 12}}, it is {short_text(part)}")
    for key, value in part.items():
        if key not in defaults:
            raise ValueError(f"{place}: key {short_text(key)} is not known; {suggest(key, defaults)}")
        kind = type(defaults[key])
        right = isinstance(value, int | float) if kind is float else isinstance(value, kind)
        if kind in (int, float, bool, str) and (not right or (isinstance(value, bool) and kind is not bool)):
            raise ValueError(f"{place}.{key} should be {kind.__name__}, it is {short_text(value)}")


def _run_blocks(blocks: Sequence[nn.Module], x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Run transformer blocks on tokens (b, n, d), with an additive attention mask (n, n) if any; returns (b, n, d).

    A block hands its input unchanged to its `nn.MultiheadAttention`, so the layout is what that module says it is. The
    mask has the dtype of `x`: blocks cast it, and a boolean one would become zeros and ones.
    """
    for block in blocks:
        attention = block.attn
        if not isinstance(attention, nn.MultiheadAttention):
            raise ValueError(f"CLIP blocks with {type(attention).__name__} are not supported; use the default blocks")
        if attention.batch_first:
            x = block(x, attn_mask=mask)
        else:
            x = block(x.transpose(0, 1), attn_mask=mask).transpose(0, 1)
    return x


class _ClipEncoder(nn.Module):
    """A CLIP model cut down to one encoder, under the key `model`."""

    def __init__(self, clip: Mapping[str, Any], freeze: bool) -> None:
        super().__init__()
        self.freeze = freeze
        self.model = open_clip.CLIP(**clip)
        # A mask that is not in the state dict would stay without values when the encoder is built on the meta device
        # and then loaded; the text encoder makes its own.
        self.model.attn_mask = None
        if freeze:
            self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> _ClipEncoder:
        """Training mode, except that a frozen encoder stays in evaluation mode."""
        super().train(mode and not self.freeze)
        return self


class FrozenOpenCLIPEmbedder(_ClipEncoder):
    """Prompts to tokens (b, max_length, d), all positions, normalised by `ln_final`."""

    @with_ranges
    @dataclass(frozen=True)
    class Config:
        """Which text encoder, and what to read from it.

        arch         open_clip architecture, unless `model_cfg` gives one inline as `{embed_dim, vision_cfg, text_cfg}`
        max_length   tokens per prompt; longer prompts are cut, shorter ones filled with token 0
        freeze       False trains the encoder along with the rest
        layer        "penultimate" leaves out the last block, as the released models do
        vocabulary   "small" is a vocabulary for small models: `text_cfg.vocab_size` must be `small_vocabulary_size()`
        version, device   read from the original YAMLs and without effect: nothing is downloaded, and the encoder lives
                          where the model is put
        """

        arch: str = "ViT-H-14"
        version: str | None = None
        device: str | None = None
        max_length: Tokens = 77
        freeze: bool = True
        layer: Literal["last", "penultimate"] = "last"
        model_cfg: dict[str, Any] | None = None
        vocabulary: Vocabulary = "clip"

        def __post_init__(self) -> None:
            text = self.clip["text_cfg"]
            context_length, size = text.get("context_length", 77), text.get("vocab_size", 49408)
            if not 3 <= self.max_length <= context_length:
                raise ValueError(
                    f"max_length = {self.max_length} does not fit the text encoder; "
                    f"set 3 to {context_length}, its context_length"
                )
            if size != tokenizer(self.vocabulary).vocab_size:
                raise ValueError(
                    f"text_cfg.vocab_size = {size} does not go with vocabulary {self.vocabulary!r}: "
                    f"set it to {tokenizer(self.vocabulary).vocab_size}"
                )

        @property
        def clip(self) -> dict[str, Any]:
            """The open_clip configuration in use."""
            return clip_config(self.arch, self.model_cfg)

    def __init__(self, config: Config) -> None:
        # The image encoder of open_clip.CLIP is dropped: a minimal one saves its 630 M random numbers.
        unused = {"image_size": 32, "patch_size": 32, "width": 64, "head_width": 64, "layers": 1}
        super().__init__(config.clip | {"vision_cfg": unused}, config.freeze)
        self.config = config
        del self.model.visual

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Token numbers (b, max_length), int64, on the CPU: start, the lower-cased words, end, then zeros.

        A prompt that is too long is cut, and its last token is the end.
        """
        return tokenizer(self.config.vocabulary)(list(prompts), context_length=self.config.max_length)

    def read(self, prompt: str) -> PromptReading:
        """How much of a prompt `tokenize` keeps."""
        words = tokenizer(self.config.vocabulary)
        tokens = words.encode(prompt)
        unread = words.decode(tokens[self.config.max_length - 2 :]).strip()  # start and end take two places
        return PromptReading(len(tokens) + 2, self.config.max_length, unread)

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """Token embeddings (b, max_length, d) of prompts; `""` is the empty prompt of classifier-free guidance."""
        blocks = self.model.transformer.resblocks
        return self._embed(self.tokenize(prompts), blocks[:-1] if self.config.layer == "penultimate" else blocks)

    def pooled(self, prompts: Sequence[str]) -> Tensor:
        """CLIP's text features (b, embed_dim), not normalised: the end token of all blocks, projected."""
        return self.pooled_tokens(self.tokenize(prompts))

    def pooled_tokens(self, tokens: Tensor) -> Tensor:
        """`pooled` of the prompts whose `tokenize` is tokens (b, max_length)."""
        x = self._embed(tokens, self.model.transformer.resblocks)
        end = tokens.argmax(dim=1).to(x.device)  # the end token has the highest number
        return x[torch.arange(len(x), device=x.device), end] @ self.model.text_projection

    def _embed(self, tokens: Tensor, blocks: Sequence[nn.Module]) -> Tensor:
        model = self.model
        tokens = tokens.to(model.positional_embedding.device)  # (b, n)
        x = model.token_embedding(tokens) + model.positional_embedding[: tokens.shape[1]]  # (b, n, d)
        causal = x.new_full((tokens.shape[1], tokens.shape[1]), float("-inf")).triu(1)
        return model.ln_final(_run_blocks(blocks, x, causal))


class FrozenOpenCLIPImageEmbedderV2(_ClipEncoder):
    """Images to all tokens (b, 1 + patches, width) of the last block, class token first; not normalised, not projected.

    The parameters of the text side, blocks excepted, are kept unused: the released checkpoints contain them.
    """

    @dataclass(frozen=True)
    class Config:
        """Which image encoder.

        arch        open_clip architecture, unless `model_cfg` gives one inline as `{embed_dim, vision_cfg, text_cfg}`
        freeze      False trains the encoder along with the rest
        antialias   blur before an image is made smaller
        version, device, layer   read from the original YAMLs and without effect: all tokens are returned for any layer
        """

        arch: str = "ViT-H-14"
        version: str | None = None
        device: str | None = None
        freeze: bool = True
        layer: str = "pooled"
        antialias: bool = True
        model_cfg: dict[str, Any] | None = None

        def __post_init__(self) -> None:
            clip_config(self.arch, self.model_cfg)

        @property
        def clip(self) -> dict[str, Any]:
            """The open_clip configuration in use."""
            return clip_config(self.arch, self.model_cfg)

    def __init__(self, config: Config) -> None:
        clip = config.clip
        super().__init__(clip | {"text_cfg": clip["text_cfg"] | {"layers": 1}}, config.freeze)
        self.config = config
        side = clip["vision_cfg"].get("image_size", 224)
        self.image_size = (side, side) if isinstance(side, int) else tuple(side)
        del self.model.transformer

    def preprocess(self, image: Tensor) -> Tensor:
        """Images (b, 3, H, W) in [-1, 1] to what it was trained on: (b, 3, *image_size), standardised, float32.

        The aspect ratio is not kept, and bicubic overshoot is not clamped, as in the original.
        """
        image = resize(
            image.float(), self.image_size, interpolation="bicubic", align_corners=True, antialias=self.config.antialias
        )
        mean, std = (image.new_tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
        return ((image + 1.0) / 2.0 - mean) / std

    def forward(self, image: Tensor) -> Tensor:
        """All tokens (b, 1 + patches, width) of images (b, 3, H, W) in [-1, 1], of any size; zeros are a grey image."""
        visual = self.model.visual
        x = visual.conv1(self.preprocess(image).to(visual.conv1.weight.dtype))
        x = rearrange(x, "b d h w -> b (h w) d")
        x = torch.cat([visual.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], dim=1)  # (b, 1 + h w, d)
        x = visual.ln_pre(x + visual.positional_embedding.to(x.dtype))
        return _run_blocks(visual.transformer.resblocks, x)

    def pooled(self, image: Tensor) -> Tensor:
        """CLIP's image features (b, embed_dim), not normalised: the class token, `ln_post`, projected."""
        visual = self.model.visual
        return visual.ln_post(self(image)[:, 0]) @ visual.proj
