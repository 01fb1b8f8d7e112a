"""evaluation/writing.py: tables on the screen keep within its width."""
import pandas as pd
import pytest

from evaluation import writing
from evaluation.tables import Table


@pytest.mark.parametrize(("name", "lines"), [("pruned 60%", 2), ("16 centroids", 3)])
def test_names_of_two_words_break_where_a_table_would_be_too_wide(name, lines):
    text = pd.DataFrame([["RMIA", *["61.2 ±1.1"] * 9]], columns=["attack", *[name] * 9])
    shown = writing.screen(Table("x", "y", text, {"AUC": text}), ["AUC"]).splitlines()[3:]
    assert len(shown) == lines and max(map(len, shown)) <= writing.WIDTH
    assert " ".join(shown[:-1]).split().count(name.split()[1]) == 9


@pytest.mark.parametrize(("plain", "escaped"), [
    ("a_b & 50% #1 $x {y}", r"a\_b \& 50\% \#1 \$x \{y\}"),
    ("\\~^", r"\textbackslash{}\textasciitilde{}\textasciicircum{}"),
    ("< > |", r"\textless{} \textgreater{} \textbar{}"), ("0.1, [a]", "0.1, [a]")])
def test_latex_escapes_special_characters(plain, escaped):
    assert writing.escape(plain) == escaped
