"""SentencePiece in place of `tokenizer.json`: the same ids as the `tokenizers` library gives."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from clip_italian.errors import UserError
from clip_italian.models import pieces
from clip_italian.models.onnx import Tokens

WORDS = "due cani corrono sulla neve un gatto dorme sul divano l'uomo più alto perché città 2019 km".split()
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def unigram(splitter, normalizer=None, most=12, length=None):
    """A vocabulary of parts of `WORDS`; their scores differ, so that no two divisions are equally likely."""
    parts = {f"▁{word}"[:end] for word in WORDS for end in range(1, 5)} | set("".join(WORDS))
    random = np.random.default_rng(0)
    vocabulary = [(token, 0.0) for token in SPECIAL[:4]]
    vocabulary += [(part, float(-random.uniform(3, 12))) for part in sorted(parts)] + [("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    tokenizer.add_special_tokens(SPECIAL)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.enable_truncation(most)
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>", length=length)
    return tokenizer


METASPACE = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
E5 = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
KINDS = {
    "e5": lambda: unigram(METASPACE, E5),
    "xlm-r": lambda: unigram(pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), METASPACE])),
    "lower case, fixed length": lambda: unigram(METASPACE, normalizers.Lowercase(), most=9, length=9),
}


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory):
    """A tokenizer, and what was written for it."""
    folder = tmp_path_factory.mktemp("pieces")
    tokenizer = KINDS[request.param]()
    assert pieces.write(tokenizer, folder)
    return tokenizer, pieces.Pieces.open(folder)


def expected(tokenizer, texts):
    encodings = tokenizer.encode_batch(texts)
    return [one.ids for one in encodings], [one.attention_mask for one in encodings]


PARTS = st.lists(st.sampled_from([*WORDS, "", "È", "\u00a0", "日本"]))


@given(texts=st.lists(st.text() | PARTS.map(" ".join), max_size=4))
def test_ids_and_masks_are_those_of_the_tokenizer(both, texts):
    tokenizer, opened = both
    texts = [text for text in texts if opened.reads(text)]
    assert opened.encode(texts) == expected(tokenizer, texts)


def test_a_long_text_keeps_its_last_token(both):
    tokenizer, opened = both
    (ids,), (mask,) = opened.encode([" ".join(WORDS)])
    assert len(ids) == tokenizer.truncation["max_length"] and ids[-1] == 2 and all(mask)


@pytest.mark.parametrize("text", ["un <mask> dorme", "<s>", "a</s>b"])
def test_special_tokens_in_a_text_are_read_by_the_tokenizer(text, tmp_path):
    tokenizer = KINDS["e5"]()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert pieces.write(tokenizer, tmp_path)
    assert not pieces.Pieces.open(tmp_path).reads(text)
    tokens = Tokens(tmp_path / "tokenizer.json")
    assert tokens.encode([text, "due cani"]) == expected(tokenizer, [text, "due cani"])
    assert tokens.count(text) == len(tokenizer.encode(text).ids)


def test_without_special_tokens_the_tokenizer_is_not_read(tmp_path):
    tokenizer = KINDS["e5"]()
    assert pieces.write(tokenizer, tmp_path)
    tokens = Tokens(tmp_path / "tokenizer.json")  # which is not there
    assert tokens.encode(["due cani"]) == expected(tokenizer, ["due cani"])
    assert tokens.count("due cani") == len(tokenizer.encode("due cani").ids)


def other_kinds():
    words = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    pairs = Tokenizer(models.BPE(unk_token="?"))
    pairs.pre_tokenizer = pre_tokenizers.Whitespace()
    pairs.train_from_iterator([WORDS], trainers.BpeTrainer(special_tokens=["?"], show_progress=False))
    for one in (words, pairs):
        one.enable_truncation(8)
        one.enable_padding()
        yield one
    left = unigram(METASPACE)
    left.enable_padding(direction="left")
    yield left
    endless = unigram(METASPACE)
    endless.no_truncation()
    yield endless
    across = Tokenizer(models.Unigram([("?", 0.0), ("▁a▁b", -1.0), ("▁a", -2.0), ("▁b", -2.0)], 0, False))
    across.pre_tokenizer = METASPACE
    across.enable_truncation(8)
    across.enable_padding()
    yield across
    # SentencePiece divides all words at once: "b" alone is no word here, and would join what stands before it.
    yield unigram(pre_tokenizers.Whitespace())


@pytest.mark.parametrize("number", range(6))
def test_other_tokenizers_have_no_such_files(number, tmp_path):
    assert not pieces.write(list(other_kinds())[number], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [("pieces.model", b""), ("pieces.model", b"\x00junk"), ("pieces.json", b""), ("pieces.json", b'{"words": 1}')],
)
def test_damaged_files_are_one_line(name, content, tmp_path):
    assert pieces.write(KINDS["e5"](), tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name) as caught:
        pieces.Pieces.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_settings_are_json_that_people_can_read(both, tmp_path):
    assert pieces.write(KINDS["e5"](), tmp_path)
    settings = json.loads((tmp_path / "pieces.json").read_text())
    assert (settings["before"], settings["after"], settings["most"], settings["pad"]) == ([0], [2], 12, 1)
    assert settings["special"] == SPECIAL
