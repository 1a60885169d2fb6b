"""The local translation engine, with a random Marian model and a small sentencepiece vocabulary."""

import io
import json

import pytest
import torch
from transformers import MarianConfig, MarianMTModel, MarianTokenizer

from clip_italian import pairs
from clip_italian.errors import UsageError, UserError
from clip_italian.models_torch.marian import Codes, Marian
from clip_italian.pairs import Pair
from clip_italian.translate.translation import translate

sentencepiece = pytest.importorskip("sentencepiece")

SENTENCES = ["a cat sleeps on the sofa", "two dogs run over the old bridge", "un gatto dorme", "due cani corrono"]
TEXTS = ["two dogs run", "a cat sleeps on the old bridge over the sofa", "the sofa", "due gatto", "cat"]
CODES = Codes("en", "it")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder with tokenizer, as on the Hub."""
    room = tmp_path_factory.mktemp("marian")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 5), model_writer=model, vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = dict.fromkeys(["</s>", "<unk>", *map(processor.id_to_piece, range(processor.get_piece_size())), "<pad>"])
    for name in ("source.spm", "target.spm"):
        (room / name).write_bytes(model.getvalue())
    (room / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    tokenizer = MarianTokenizer(
        source_spm=str(room / "source.spm"),
        target_spm=str(room / "target.spm"),
        vocab=str(room / "vocab.json"),
        model_max_length=64,
    )
    torch.manual_seed(0)
    pad = len(pieces) - 1
    config = MarianConfig(
        vocab_size=len(pieces), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64, init_std=1.0,
        pad_token_id=pad, eos_token_id=0, decoder_start_token_id=pad, forced_eos_token_id=0,
    )  # fmt: skip
    tokenizer.save_pretrained(room / "model")
    MarianMTModel(config).save_pretrained(room / "model")
    return room / "model"


def greedy(folder, text):
    """Translate with greedy search."""
    tokenizer, model = MarianTokenizer.from_pretrained(folder), MarianMTModel.from_pretrained(folder).eval()
    given = tokenizer(text, return_tensors="pt")
    tokens = [model.config.decoder_start_token_id]
    with torch.inference_mode():
        while len(tokens) < 63:
            scores = model(**given, decoder_input_ids=torch.tensor([tokens])).logits[0, -1]
            scores[model.config.pad_token_id] = -torch.inf
            tokens.append(int(scores.argmax()))
            if tokens[-1] == model.config.eos_token_id:
                break
    return tokenizer.decode(tokens, skip_special_tokens=True)


def test_translations_equal_a_search_by_hand(folder):
    found = Marian(str(folder), CODES, beams=1, device="cpu").translate(TEXTS)
    assert found == [greedy(folder, text) for text in TEXTS]
    assert len(set(found)) > 1, "the random model must tell texts apart for this test to mean anything"


def test_a_translation_does_not_depend_on_the_batch(folder):
    engine = Marian(str(folder), CODES, beams=2, device="cpu")
    assert engine.translate(TEXTS) == [engine.translate([text])[0] for text in TEXTS]


def test_texts_over_the_limit_are_skipped(folder):
    engine = Marian(str(folder), CODES, device="cpu")
    short, long = engine.translate(["a cat", "a cat " * 60])
    assert short == engine.translate(["a cat"])[0]
    assert long is None
    assert engine.translate(["a cat " * 60]) == [None]


def test_batches_contain_each_text_once_by_length(folder):
    engine = Marian(str(folder), CODES, batch_size=2, device="cpu")
    batches = list(engine.batches(iter(TEXTS)))
    assert sorted(text for batch in batches for text in batch) == sorted(TEXTS)
    lengths = [len(text) for batch in batches for text in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert max(map(len, batches)) == 2


def test_other_weights_change_the_identity(folder, tmp_path):
    first = Marian(str(folder), CODES, device="cpu").identity
    assert first == Marian(str(folder), CODES, batch_size=7, device="cpu").identity
    assert first != Marian(str(folder), CODES, beams=1, device="cpu").identity
    model = MarianMTModel.from_pretrained(folder)
    with torch.no_grad():
        model.final_logits_bias += 1
    model.save_pretrained(tmp_path / "other")
    MarianTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "other")
    assert first["model"] != Marian(str(tmp_path / "other"), CODES, device="cpu").identity["model"]


def test_a_pairs_file(folder, tmp_path):
    pairs.write([Pair("1", "http://h/1.jpg", ("a cat", "the sofa"), "cc")], tmp_path / "in.parquet")
    engine = Marian(str(folder), CODES, beams=1, device="cpu")
    translate(tmp_path / "in.parquet", tmp_path / "out.parquet", engine, tmp_path / "cache.sqlite")
    [row] = pairs.read(tmp_path / "out.parquet")
    assert row.captions_original == ("a cat", "the sofa")
    assert row.captions == (greedy(folder, "a cat"), greedy(folder, "the sofa"))


def test_loading_errors_are_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in (str(tmp_path / "empty"), str(tmp_path / "nothing")):
        with pytest.raises(UserError, match="cannot load a translation model") as caught:
            Marian(name, CODES)
        assert "\n" not in str(caught.value)


def test_an_unknown_device(folder):
    with pytest.raises(UsageError, match="--device gameboy"):
        Marian(str(folder), CODES, device="gameboy")
