"""The figures that the page draws, by name, from the tables of the printed ones; others it shows as printed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pandas as pd

from plots import ablations, fig4, relatives
from plots.page.ablating import by_sweep, every_seed, steps_until
from plots.page.beside import published
from plots.page.cells import by_setting
from plots.page.compare import against_size, costs, forgetting, pairs_recalled
from plots.page.learning import by_rate, by_tokens
from plots.page.perplexity import against_capacity, perplexities
from plots.page.spec import Drawing

DRAWINGS: dict[str, Callable[[pd.DataFrame], Drawing]] = {
    "fig3": against_size,
    "fig3_active": partial(against_size, size="active_state_size"),
    "capacity": pairs_recalled,
    "relatives": partial(pairs_recalled, sizes=relatives.SIZES),
    "forgetting_curve": forgetting,
    "per_setting": by_setting,
    "fig4": partial(by_sweep, panels=fig4.PANELS),
    "ablations": partial(by_sweep, panels=ablations.PANELS),
    "trainability": steps_until,
    "token_wise": every_seed,
    "lr": by_rate,
    "curves": by_tokens,
    "cost": costs,
    "published": published,
    "language": perplexities,
    "language_capacity": against_capacity,
}
