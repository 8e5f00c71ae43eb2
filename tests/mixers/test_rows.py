import torch

from mixers.ops.rows import flat


def test_kernels_get_numbers_without_gaps():
    """Also of a slice of one number a token, which torch takes for a row as it is."""
    like = torch.empty(0)
    for width in (1, 2):
        x = torch.arange(24.0).view(2, 3, 4)[..., 1 : 1 + width]
        row = flat(x, like)
        assert row.flags.c_contiguous and row.tolist() == x.flatten().tolist()
    out = torch.zeros(2, 3)
    flat(out, like)[:] = 1
    assert out.eq(1).all(), "what a kernel writes to is the tensor's own memory"
    assert flat(None, like).size == 0
