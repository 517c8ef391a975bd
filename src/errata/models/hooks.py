"""Looking into a running model and changing what passes: outputs replaced, values captured, weights oriented.

Knows modules and tensors. It does not know edits, methods or patches. Whatever is installed can be removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers.pytorch_utils import Conv1D


def hidden_of(output: Any) -> torch.Tensor:
    """The hidden state in what a module returned: a tensor, or the first member of a tuple."""
    return output[0] if isinstance(output, tuple) else output


def with_hidden(output: Any, hidden: torch.Tensor) -> Any:
    """What a module returned, with another hidden state in it."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def replace_output(module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> RemovableHandle:
    """From now on `module` returns `change(hidden)` for its hidden state; remove the handle to end it."""

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        return with_hidden(output, change(hidden_of(output)))

    return module.register_forward_hook(hook)


@contextmanager
def added(model: nn.Module, parts: Mapping[str, Callable[[torch.Tensor], torch.Tensor]]) -> Iterator[None]:
    """Inside, the linear module at each path returns what it would, and in float32 the part of its input beside it.

    Gradients reach the parts.
    """

    def adding(part: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[nn.Module, Any, torch.Tensor], torch.Tensor]:
        return lambda _module, args, output: output + part(args[0].float()).to(output.dtype)

    handles = [model.get_submodule(path).register_forward_hook(adding(part)) for path, part in parts.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def capture(
    model: nn.Module, paths: Iterable[str], *, what: Literal["output", "input"] = "output"
) -> Iterator[dict[str, list[torch.Tensor]]]:
    """Record what passes through the modules at `paths`, one tensor a call, as long as the context lasts.

    `what` is "output" (the hidden state a module returns) or "input" (its first positional argument). The
    tensors keep their graph: under `torch.no_grad` they are plain values, else gradients flow through them.
    """
    record: dict[str, list[torch.Tensor]] = {path: [] for path in paths}

    def recorder(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, args: Any, output: Any) -> None:
            record[path].append(args[0] if what == "input" else hidden_of(output))

        return hook

    handles: list[RemovableHandle] = []
    try:
        for path in record:
            handles.append(model.get_submodule(path).register_forward_hook(recorder(path)))
        yield record
    finally:
        for handle in handles:
            handle.remove()


def as_matrix(module: nn.Module) -> torch.Tensor:
    """The weight of a linear module as (d_out, d_in), detached, sharing its storage: a write edits the model.

    `nn.Linear` stores its weight this way round, GPT-2's `Conv1D` the other way; callers need not ask.
    """
    weight = module.get_parameter("weight").detach()
    return weight.t() if isinstance(module, Conv1D) else weight
