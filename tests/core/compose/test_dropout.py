"""Dropout on a CPU: the share that is lost, what is left, and attention with it beside torch's own."""

import pytest
import torch
import torch.nn.functional as F

from forehand.compose.dropout import Dropout, dropout, is_unfused, scaled_dot_product_attention


@pytest.mark.parametrize("shape", [(7,), (3, 5, 7), (2, 100, 101)])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_a_share_is_dropped_and_the_mean_is_kept(shape, p):
    torch.manual_seed(0)
    x = torch.ones(shape, requires_grad=True)
    out = dropout(x, p)
    assert out.shape == shape
    kept = out[out != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=1e-4, atol=0)
    out.sum().backward()
    assert torch.equal(x.grad, out), "what was dropped has no gradient, and the rest the same factor"
    many = dropout(torch.ones(400_000), p)
    assert (many == 0).float().mean() == pytest.approx(p, abs=0.003)
    assert many.mean() == pytest.approx(1, abs=0.006)


def test_masks_are_drawn_anew_and_again_by_the_same_seed():
    x = torch.ones(50, 50)
    torch.manual_seed(3)
    first, second = dropout(x, 0.3), dropout(x, 0.3)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.3), first)


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    kept = (dropout(torch.ones(100_000, 8), 0.3) > 0).float()
    assert torch.corrcoef(kept.T).fill_diagonal_(0).abs().max() < 0.02, "eight share two numbers"


def test_activations_in_another_order_and_of_another_precision():
    torch.manual_seed(0)
    x = torch.arange(1.0, 13).view(3, 4).T.to(torch.bfloat16)
    out = dropout(x, 0.5)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out[out != 0], (x * 2)[out != 0])


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_none_and_all(p):
    assert torch.equal(Dropout(p)(torch.ones(1000)), torch.full((1000,), 1 - p))
    assert torch.equal(Dropout(p).eval()(torch.ones(9)), torch.ones(9))


MASKS = [torch.ones(5, 7, dtype=torch.bool).tril(2), torch.rand(2, 1, 5, 7, generator=torch.manual_seed(1)) > 0.4]


@pytest.mark.parametrize("mask", MASKS)
def test_attention_is_torchs_where_dropout_never_strikes(mask):
    generator = torch.manual_seed(0)
    mask = mask | (torch.arange(7) == 0)
    parts = [torch.randn(2, 3, n, 8, generator=generator, requires_grad=True) for n in (5, 7, 7)]
    assert is_unfused(parts[0], 1e-9)
    found = scaled_dot_product_attention(*parts, mask, 1e-9)
    torchs = F.scaled_dot_product_attention(*parts, attn_mask=mask)
    torch.testing.assert_close(found, torchs)
    of = torch.randn(found.shape, generator=generator)
    torch.testing.assert_close(torch.autograd.grad(found, parts, of), torch.autograd.grad(torchs, parts, of))


def test_attention_weights_are_dropped():
    torch.manual_seed(0)
    query, key = torch.zeros(1, 1, 2000, 4), torch.zeros(1, 1, 10, 4)
    read = scaled_dot_product_attention(query, key, torch.ones(1, 1, 10, 1), torch.ones(2000, 10, dtype=torch.bool), 0.2)
    assert read.mean() == pytest.approx(1, abs=0.02)
    assert read.var() == pytest.approx(0.2 / 0.8 / 10, rel=0.1)


def test_a_query_that_reads_nothing_breaks_no_gradient():
    parts = [torch.randn(1, 1, n, 4, requires_grad=True) for n in (2, 3, 3)]
    mask = torch.tensor([[False] * 3, [True, False, True]])
    out = scaled_dot_product_attention(*parts, mask, 0.5)
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(out.sum(), parts))
