"""The direct forward pass: the logits of transformers to the last bit, or not used at all."""

import pytest
import torch

from decodelab.models.transformers_model import TransformersModel
from decodelab.models.transformers_weights import direct_of

LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
SAME = {
    "llama": ("llama", {}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama without grouped queries": ("llama", {"num_key_value_heads": 4}),
    "llama with tied embeddings": ("llama", {"tie_word_embeddings": True}),
    "llama 3 rotary scaling": ("llama", {"rope_parameters": LLAMA3_ROPE}),
    "mistral without a window": ("mistral", {"sliding_window": None}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 16}),
}
OTHER = {
    "a sliding window": ("mistral", {"sliding_window": 5}),
    "a window in some layers": ("qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    "angles that depend on the length": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}},
    ),
    "eager attention": ("llama", {"attention": "eager"}),
    "another architecture": ("gpt_neox", {}),
}


def run(network, tokenizer, direct):
    """Logits of a ragged batch through prefill, steps of one and more tokens, a fork and a rewind."""
    model = TransformersModel(network, tokenizer)
    assert model._direct is not None
    if not direct:
        model._direct = None
    out = []
    logits, cache = model.prefill([(3, 1, 4, 1, 5, 9, 2, 6), (5, 3, 5)])
    out.append(logits)
    for tokens in ([[8], [9]], [[7, 9, 3], [2, 3, 8]], [[4], [6]]):
        logits, cache = model.decode(cache, torch.tensor(tokens))
        out.append(logits)
    cache = cache.select(torch.tensor([1, 0, 1]))
    logits, cache = model.decode(cache, torch.tensor([[1], [2], [3]]))
    out.append(logits)
    logits, cache = model.decode(cache.rewind([4, 9, 6]), torch.tensor([[1, 1], [2, 2], [3, 3]]))
    out.append(logits)
    logits, cache = model.prefill([(1, 2, 3)] * 4)
    logits, cache = model.decode(cache, torch.tensor([[5]] * 4))
    out.append(logits)
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", SAME)
def test_logits_equal_those_of_transformers_to_the_last_bit(build_network, word_tokenizer, name, dtype):
    model_type, sizes = SAME[name]
    network = build_network(model_type, **sizes).to(dtype)
    mine, theirs = run(network, word_tokenizer, True), run(network, word_tokenizer, False)
    for a, b in zip(mine, theirs, strict=True):
        assert a.dtype == dtype
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", OTHER)
def test_anything_else_is_left_to_transformers(build_network, name):
    model_type, sizes = OTHER[name]
    assert direct_of(build_network(model_type, **sizes)) is None


def test_a_model_with_a_hook_is_left_to_transformers(build_network):
    network = build_network("llama")
    network.model.layers[0].mlp.register_forward_hook(lambda module, args, output: output * 2)
    assert direct_of(network) is None


def test_a_model_with_another_kind_of_projection_is_left_to_transformers(build_network):
    class Adapted(torch.nn.Linear):
        def forward(self, input):
            return super().forward(input) * 2

    network = build_network("llama")
    old = network.model.layers[1].mlp.up_proj
    network.model.layers[1].mlp.up_proj = Adapted(old.in_features, old.out_features, bias=False)
    assert direct_of(network) is None


def test_weights_changed_in_place_are_seen(build_network, word_tokenizer):
    model = TransformersModel(build_network("llama"), word_tokenizer)
    before, _ = model.prefill([(1, 2, 3)])
    with torch.no_grad():
        model.model.model.layers[0].mlp.up_proj.weight.mul_(2)
    after, _ = model.prefill([(1, 2, 3)])
    expected = model.model(input_ids=torch.tensor([[1, 2, 3]])).logits[:, -1]
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, expected)


def test_sequences_longer_than_the_first_table_of_angles(build_network, word_tokenizer):
    network = build_network("llama", max_position_embeddings=1024)
    model = TransformersModel(network, word_tokenizer)
    tokens = tuple(i % 60 for i in range(400))
    _, cache = model.prefill([tokens[:250]])
    for token in tokens[250:260]:
        _, cache = model.decode(cache, torch.tensor([[token]]))
    logits, _ = model.decode(cache, torch.tensor([tokens[260:]]))
    with torch.no_grad():
        expected = network(input_ids=torch.tensor([tokens])).logits[:, 260:]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
