"""An ONNX graph while it is built: operators are appended, and names of values are made unique."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

OPSET, IR_VERSION = 17, 8
"""Old enough for engines on devices: onnxruntime 1.12, OpenVINO 2023, TensorRT 8.5."""


@dataclass
class OnnxGraph:
    """Operators and constants of a graph, or of the body of a loop within ``parent``.

    A body may use the values of its parent by name; its constants are the parent's.
    """

    parent: OnnxGraph | None = None
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)
    _known: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    @property
    def root(self) -> OnnxGraph:
        """The graph with the constants."""
        return self if self.parent is None else self.parent.root

    def unique(self, name: str) -> str:
        """The name, numbered where there is one like it."""
        counts = self.root._counts
        counts[name] += 1
        return name if counts[name] == 1 else f"{name}.{counts[name]}"

    def constant(self, value: Any, name: str = "constant") -> str:
        """An initializer; scalars and arrays of float64 are float32, Python integers int64. Equal ones are shared."""
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        root, key = self.root, (str(array.dtype), array.shape, array.tobytes())
        if key not in root._known:
            root._known[key] = root.unique(name)
            root.initializers.append(numpy_helper.from_array(array.copy(order="C"), root._known[key]))
        return root._known[key]

    def op(self, kind: str, *inputs: str, name: str = "", out: str | None = None, **attributes: Any) -> str:
        """Append an operator with one output and return the output's name, ``out`` where it is given."""
        return self.ops(kind, 1, *inputs, name=name, outs=None if out is None else [out], **attributes)[0]

    def ops(
        self, kind: str, count: int, *inputs: str, name: str = "", outs: Sequence[str] | None = None, **attributes: Any
    ) -> list[str]:
        """Append an operator with several outputs."""
        base = name or kind.lower()
        made = list(outs) if outs is not None else [self.unique(f"{base}:{kind}") for _ in range(count)]
        node_name = self.unique(f"{base}/{kind}")
        self.nodes.append(helper.make_node(kind, list(inputs), made, name=node_name, **attributes))
        return made

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """Reshape; one side may be -1."""
        return self.op("Reshape", x, self.constant(np.array(shape, np.int64), "shape"))

    def slice(self, x: str, start: int, stop: int, axis: int) -> str:
        """Part of one axis."""
        ends = (self.constant(np.array([value], np.int64), "index") for value in (start, stop, axis))
        return self.op("Slice", x, *ends)

    def sum(self, x: str, axes: Sequence[int]) -> str:
        """Sum over axes."""
        return self.op("ReduceSum", x, self.constant(np.array(axes, np.int64), "axes"), keepdims=0)

    def scan(
        self,
        body: OnnxGraph,
        inputs: Sequence[str],
        states: int,
        outputs: Sequence[str],
        names: Sequence[str],
        shapes: Mapping[str, Sequence[int | str | None]],
        integers: Collection[str],
    ) -> list[str]:
        """A Scan over axis 0: the first ``states`` of ``inputs`` go round, the others are read step by step.

        Args:
            body: its operators.
            inputs: initial states, then sequences.
            states: how many states there are.
            outputs: values of the body: new states, then what is collected.
            names: values of the body that states and steps are read as, in the order of ``inputs``.
            shapes: of all these values; None is any side.
            integers: outputs that are int64; the others are float32.
        """
        graph = helper.make_graph(
            body.nodes,
            self.unique("step"),
            [value_info(name, shapes[name]) for name in names],
            [value_info(name, shapes[name], integer=name in integers) for name in outputs],
        )
        return self.ops("Scan", len(outputs), *inputs, body=graph, num_scan_inputs=len(inputs) - states)


def value_info(name: str, shape: Sequence[int | str | None], *, integer: bool = False) -> Any:
    """Declaration of an input or output, float32 or int64."""
    return helper.make_tensor_value_info(name, TensorProto.INT64 if integer else TensorProto.FLOAT, shape)
