"""fla's layers beside ours: the same parameters, and on CUDA the same outputs."""

import warnings

import pytest
import torch


def fla_layer(name, **options):
    """``fla.layers.<name>(**options)``; construction works without a GPU."""
    pytest.importorskip("fla", reason="fla is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import fla.layers

        with torch.random.fork_rng():
            torch.manual_seed(0)
            return getattr(fla.layers, name)(**options)


def check_against_fla(ours, theirs, length=70):
    """``ours`` takes the state dict of ``theirs`` as it is; on CUDA, in float32, their outputs agree."""
    ours.load_state_dict(theirs.state_dict(), strict=True)
    if torch.cuda.is_available():
        x = torch.randn(2, length, ours.d_model, generator=torch.Generator().manual_seed(1)).cuda()
        with torch.no_grad():
            expected = theirs.cuda()(x)[0]
            got = ours.cuda()(x)
        # fla's kernels may multiply in TF32
        assert (got - expected).norm() <= 1e-2 * expected.norm()
