import mixers
from plots.axes import count
from plots.style import design, order, style, styles


def test_styles_are_fixed_and_distinct():
    known = order([*mixers.names(), "a.Mine"])
    assert known[:2] == ["ramnet", "attention"] and known[-1] == "a.Mine"
    assert len({(style(m).color, style(m).marker) for m in known}) == len(known)
    assert style("a.Mine") == style("a.Mine") and style("a.Mine").label == "Mine"


def test_every_registered_mixer_has_a_style_of_its_own():
    spare = {style(f"x.{letter}").color for letter in "abcde"}
    assert all(style(mixer).color not in spare for mixer in mixers.names())


def test_of_two_with_one_spare_style_the_later_gets_another():
    assert style("ab")[1:] == style("ba")[1:]
    both = styles(["ba", "gla", "ab"])
    assert both["ab"] == style("ab") and both["ba"][1:] != both["ab"][1:] and both["gla"] == style("gla")
    assert len(styles("abcdefgh")) == 8  # more than there are


def test_names_that_are_no_class_are_shown_as_they_are():
    assert style("1 layer, v1.5").label == "1 layer, v1.5"
    assert style("my._Mine").label == "Mine" and style("for $x$").label == r"for \$x\$"


def test_a_design_is_said_in_words():
    assert design("short_conv ramnet") == "after a short convolution"
    assert design("ramnet ramnet") == design("attention") == "in every layer"
    assert design("gla ramnet") == "after GLA"


def test_sizes_are_counted_in_binary_thousands():
    assert [count(n) for n in (1, 512, 4096, 8832, 2**20, 3 * 2**29)] == ["1", "512", "4K", "8.62K", "1M", "1.5G"]
