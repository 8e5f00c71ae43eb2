"""Which fields of an experiment file count: what we have, what no result depends on, and nothing else unless asked."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from mixers.checks import brief
from mqar_bench.zoology.checkout import Checkout, Default, Defaults
from mqar_bench.zoology.shim import MODULES, BaseConfig, DataConfig2023

FLAG = "--ignore-unknown-fields"

#: Fields of ours that no result depends on.
LABELS = {
    "logger", "slice_keys", "launch_id", "sweep_id", "run_id", "name", "include_slices", "cache_dir", "force_cache",
    "caching",
}  # fmt: skip

#: The same, of fields that Zoology has no more: its own files still give them.
KEPT = {"TrainConfig": {"predictions_path", "collect_predictions"}, "DataConfig": {"caching"}}

#: Fields that Zoology drops in silence though its own files give them. A fork that has them is another matter.
DROPPED = {"MQARConfig": {"train_power_a", "test_power_a"}}

Config = TypeVar("Config", bound=BaseConfig)


class Untranslatable(ValueError):
    """What a config asks for and we do not have."""


class Reader:
    """Reads the configs of a file, one after another, and remembers what is to be said of them.

    Args:
        checkout: the Zoology of the file.
        ignore_unknown: leave out what is not known, instead of refusing the config; its run will say so.
    """

    def __init__(self, checkout: Checkout, ignore_unknown: bool = False) -> None:
        self.checkout, self._ignore_unknown = checkout, ignore_unknown
        self._counts: Counter[str] = Counter()
        self._here: dict[str, None] = {}
        self._ignored: set[str] = set()

    def note(self, text: str) -> None:
        """Once a config, whatever the number of segments or layers it is about."""
        self._here[text] = None

    def close(self, keep: bool = True) -> tuple[str, ...]:
        """The end of a config: what of it was left out as unknown. What is noted of a refused one is not kept."""
        ignored = tuple(sorted(self._ignored))
        if keep:
            self._counts.update(list(self._here))
        self._here.clear()
        self._ignored.clear()
        return ignored

    @property
    def counts(self) -> dict[str, int]:
        """What was noted, and of how many configs."""
        return dict(self._counts)

    def settle(self, config: Config, *kinds: type[BaseConfig]) -> Config:
        """A config of one of these classes, of which every field counts or is known not to.

        What it leaves out has the default that it has in the checkout.

        Raises:
            Untranslatable: it is of a class of the file's own, or has a field that is not known.
        """
        kind = type(config)
        name = _their_name(kind)
        if kind not in kinds:
            raise Untranslatable(f"the class {name}, which is no class of Zoology")
        theirs, extra = self._their_fields(kind), config.model_extra or {}
        unknown = {field: value for field, value in extra.items() if not self._is_idle(name, field, value, theirs)}
        self.refuse(name, unknown, theirs, kind.model_fields, "field")
        if theirs is None:
            return config
        said = {*kind.model_fields, *KEPT.get(name, ()), *unknown}
        more = {field: default for field, default in theirs.items() if field not in said}
        if more:
            shown = ", ".join(f if isinstance(d, Default) else f"{f}={brief(d)}" for f, d in more.items())
            self.note(f"{name} has more in the file's own Zoology, taken to change nothing where not given: {shown}")
        given = config.model_fields_set
        self._miss(name, config, sorted(kind.model_fields.keys() - theirs.keys() - LABELS), [*more, *unknown])
        ours = {field: getattr(config, field) for field in kind.model_fields if field not in given | LABELS}
        return config.model_copy(update=self.defaults(name, ours, theirs))

    def defaults(self, name: str, ours: Mapping[str, Any], theirs: Defaults | None) -> dict[str, Any]:
        """Of what is left out, and would have our defaults, what has another one in the file's own Zoology.

        Raises:
            Untranslatable: one cannot be told without executing that.
        """
        found = {}
        for field, default in ours.items():
            value = (theirs or {}).get(field, Default.REQUIRED)
            if value is Default.UNREADABLE:
                raise Untranslatable(f"{name}.{field}, whose default in the file's own Zoology cannot be read off")
            if value is not Default.REQUIRED and value != default:
                self.note(f"{name}.{field} is {brief(value)}, its default in the file's own Zoology")
                found[field] = value
        return found

    def refuse(
        self, name: str, unknown: Mapping[str, Any], theirs: Defaults | None, known: Iterable[str], kind: str = "option"
    ) -> None:
        """Refuse a config for what of it is not known, if there is anything, or note that it is left out.

        Args:
            name: whose options, or fields, they are.
            unknown: these, with their values.
            theirs: what there is in the checkout.
            known: what there is here, one of which may have been meant.
            kind: what they are called.

        Raises:
            Untranslatable: unless what is not known is ignored.
        """
        if self._ignore_unknown:
            for field, value in unknown.items():
                self._ignored.add(f"{name}.{field}={brief(value)}")
                self.note(f"{name}.{field} is left out, as {FLAG} says")
            return
        known, reasons = list(known), []
        if there := [field for field in unknown if field in (theirs or {})]:
            reasons.append(f"{_list(kind, there)}, which the file's own Zoology has and we have not")
        if nowhere := [field for field in unknown if field not in there]:
            close = [match for field in nowhere for match in difflib.get_close_matches(field, known, 1, 0.75)]
            meant = f" (did you mean {close[0]!r}?)" if close else ""
            reasons.append(f"{_list(kind, nowhere)}, which it has not{meant}")
        if reasons:
            raise Untranslatable(f"{name} with {', and '.join(reasons)}; {FLAG} leaves such out")

    def _miss(self, name: str, config: BaseConfig, missing: list[str], more: list[str]) -> None:
        """Of our fields that the checkout has not, refuse those that it has by another name, note what it drops."""
        renamed = {field: new for field in missing for new in more if field in new or new in field}
        for field, new in renamed.items():
            what = f"{name}.{field}={brief(getattr(config, field))}"
            if not self._ignore_unknown:
                where = f"{name} with no field {field!r} in the file's own Zoology, but {new!r}"
                raise Untranslatable(f"{where}, which we have not; {FLAG} takes {what}")
            self._ignored.add(f"{name}.{new}, in place of which {what}")
            self.note(f"{what}, whatever {new} is in the file's own Zoology")
        fields = type(config).model_fields
        counting = [f for f in missing if f not in renamed and f in config.model_fields_set]
        if dropped := [field for field in counting if getattr(config, field) != fields[field].default]:
            what = ", ".join(map(repr, dropped))
            self.note(f"{name} has no {what} in the file's own Zoology, which drops such fields: here they count")

    def _is_idle(self, name: str, field: str, value: Any, theirs: Defaults | None) -> bool:
        """Whether a field that we have not is known to have no effect."""
        there = field in (theirs or {})
        if there and (theirs or {})[field] == value:
            return True  # as if it were not given
        if field in KEPT.get(name, ()) and there:
            self.note(f"{name}.{field} is left out: no result depends on it")
        elif field in KEPT.get(name, set()) | DROPPED.get(name, set()) and not there:
            self.note(f"{name} has no field {field!r}: ignored, as Zoology ignores it")
        else:
            return False
        return True

    def _their_fields(self, kind: type[BaseConfig]) -> Defaults | None:
        theirs = self.checkout.fields([m for m, classes in MODULES.items() if kind in classes], _their_name(kind))
        if kind is DataConfig2023:
            theirs = self.checkout.fields(["zoology.config"], _their_name(kind))
            return theirs if "builder" in (theirs or {}) else None
        return theirs


def _their_name(kind: type[BaseConfig]) -> str:
    return "DataConfig" if kind is DataConfig2023 else kind.__name__


def _list(kind: str, names: list[str]) -> str:
    """``a field 'x'``, ``fields 'x', 'y'``."""
    article = "an" if kind[0] in "aeiou" else "a"
    return f"{article} {kind} {names[0]!r}" if len(names) == 1 else f"{kind}s {', '.join(map(repr, names))}"
