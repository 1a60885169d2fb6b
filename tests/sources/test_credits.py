"""Credits of press photos, and parentheses that are none."""

import pytest

from clip_italian.sources.credits import without_credit

SENTENCE = "Un cane (un bassotto) corre sulla spiaggia"


@pytest.mark.parametrize(
    "credit",
    [
        "(AP Photo/Mario Rossi)", "(AP Photo/Mario Rossi, File)", "(ANSA)", "(Ansa)", "(ANSA/ MASSIMO PERCOSSI)",
        "(Getty Images)", "(Mario Rossi/Getty Images)", "(Photo by Mario D'Amico/Getty Images for Save the Children)",
        "(EPA/ANSA)", "(LaPresse)", "(Claudio Furlan - LaPresse)", "(Mario Rossi via AP)", "(foto di Mario Rossi)",
        "(Foto: Mario Rossi)", "(© Mario Rossi)", "(REUTERS/Mario Rossi)", "(MARIO ROSSI/AFP via Getty Images)",
        "(Daniel Cole, Pool via AP)", "(AP Photo/Ariel Schalit).", "(AP Photo/Mario (Pippo) Rossi)", "(Xinhua/Li Na)",
        "(Photo credit should read PATRICK BAZ/AFP/Getty Images)", "(ANSA) (AP Photo)", "( Imagoeconomica )",
        "(Valeria Chiari/il Post)", "(Il Post)",
    ],
)  # fmt: skip
def test_credits_go(credit):
    assert without_credit(f"{SENTENCE} {credit}") == SENTENCE
    assert without_credit(f"{SENTENCE}. {credit}") == f"{SENTENCE}."


@pytest.mark.parametrize(
    "plain",
    [
        "(a sinistra)", "(2019)", "(Piemonte)", "(Alto Adige/Südtirol)", "(che lavora per Reuters)", "(NASA)", "()",
        "(un'ansa del fiume)", "(nella foto)", "(foto)", "(la foto vinse il World Press Photo)", "(un fotografo di AP)",
        "(a destra, nella foto di famiglia)", "(12/3)", "(Mario Rossi)", "(ansa)", "(scrive il Post)",
        "(Foto)", "( )", "(((", ")", "(",
    ],
)  # fmt: skip
def test_other_parentheses_stay(plain):
    assert without_credit(f"{SENTENCE} {plain}") == f"{SENTENCE} {plain}"


@pytest.mark.parametrize(
    "caption", ["", ".", "(ANSA) Un cane", "Un cane (ANSA) corre", "Un cane (ANSA", "Un cane ANSA)"]
)
def test_only_at_the_end(caption):
    assert without_credit(caption) == caption


def test_nothing_but_a_credit():
    assert without_credit("(AP Photo/Mario Rossi)") == ""
