"""The Backpack (Hewitt et al., 2023, arXiv:2305.16765), a language model whose words carry several sense vectors.

    o_i = Σ_l Σ_{j ≤ i} α_{l,i,j} c_l(x_j),    logits_i = E o_i

c_l(x) is the l-th sense vector of the word x, a function of the word alone; α, which a GPT-2 computes, says how much of
it reaches a position. Everything that a context does lies in α, everything that a word means lies in c.
`register` makes transformers' auto classes know it. Importing this imports no model.
"""


def register() -> None:
    """From now on `AutoConfig` and `AutoModelForCausalLM` load Backpacks. May be called any number of times."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from errata.models.backpack.config import BackpackConfig
    from errata.models.backpack.modeling import BackpackForCausalLM

    AutoConfig.register(BackpackConfig.model_type, BackpackConfig, exist_ok=True)
    AutoModelForCausalLM.register(BackpackConfig, BackpackForCausalLM, exist_ok=True)
