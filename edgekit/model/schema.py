"""What a `.tflite` file may say: the names, numbers and fields of its schema, version 3, as data.

Operators and options are written down in the order of the schema, so that their place is their number.
`edgekit.model` reads and writes files by these tables and knows no operator by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Value: TypeAlias = int | float | bool | str | bytes | tuple[int, ...] | tuple[float, ...]

IDENTIFIER = b"TFL3"
VERSION = 3
LARGEST_DEPRECATED_CODE = 127  # an operator code above it stands in a field of its own
CUSTOM = "CUSTOM"

# The number of a tensor type, and what edgekit calls it. What is not here, no kernel of a CPU takes.
DTYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8",
    10: "float64", 12: "uint64", 15: "uint32", 16: "uint16",
}  # fmt: skip
INT4 = 17  # of constants alone, which are read as int8
DTYPE_CODES = {np.dtype(name): code for code, name in DTYPES.items()}

OPERATORS = tuple(
    """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE
    EMBEDDING_LOOKUP FLOOR FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D
    LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1
    RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM
    CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND
    SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
    BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM
    CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE
    SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW
    ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK
    REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR
    LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS
    WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE
    NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
    BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG
    REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL
    CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL
    BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD
    UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR
    RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE STABLEHLO_MULTIPLY
    STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE
    STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL
    STABLEHLO_REDUCE STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL
    STABLEHLO_FLOOR STABLEHLO_LOG STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER
    STABLEHLO_REMAINDER STABLEHLO_RSQRT STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH
    STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT STABLEHLO_DYNAMIC_SLICE
    STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA STABLEHLO_DOT_GENERAL
    STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE
    DILATE STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT
    STABLEHLO_CBRT STABLEHLO_CASE
    """.split()  # noqa: SIM905
)
OPERATOR_CODES = {name: code for code, name in enumerate(OPERATORS)}

ENUMS = {
    "Padding": ("SAME", "VALID"),
    "Activation": ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT"),
    "WeightsFormat": ("DEFAULT", "SHUFFLED4x16INT8"),
    "LstmKernel": ("FULL", "BASIC"),
    "LshProjection": ("UNKNOWN", "SPARSE", "DENSE"),
    "Combiner": ("SUM", "MEAN", "SQRTN"),
    "MirrorPad": ("REFLECT", "SYMMETRIC"),
    "TensorType": (
        "FLOAT32", "FLOAT16", "INT32", "UINT8", "INT64", "STRING", "BOOL", "INT16", "COMPLEX64", "INT8",
        "FLOAT64", "COMPLEX128", "UINT64", "RESOURCE", "VARIANT", "UINT32", "UINT16", "INT4", "BFLOAT16",
        "INT2", "UINT4", "FLOAT8_E4M3FN", "FLOAT8_E5M2",
    ),
}  # fmt: skip

# One line an options table: its number in the union, the operators that have it, its fields in order.
# `name:type`, `=default` where that is not zero, `+` where the value must be positive, `-` a retired field.
OPTIONS = """
1 CONV_2D padding:Padding stride_w:int+ stride_h:int+ fused_activation_function:Activation dilation_w_factor:int+=1 dilation_h_factor:int+=1 quantized_bias_type:TensorType
2 DEPTHWISE_CONV_2D padding:Padding stride_w:int+ stride_h:int+ depth_multiplier:int fused_activation_function:Activation dilation_w_factor:int+=1 dilation_h_factor:int+=1
3 CONCAT_EMBEDDINGS num_channels:int num_columns_per_channel:ints embedding_dim_per_channel:ints
4 LSH_PROJECTION type:LshProjection
5 AVERAGE_POOL_2D,L2_POOL_2D,MAX_POOL_2D padding:Padding stride_w:int+ stride_h:int+ filter_width:int+ filter_height:int+ fused_activation_function:Activation
6 SVDF rank:int+ fused_activation_function:Activation asymmetric_quantize_inputs:bool
7 RNN fused_activation_function:Activation asymmetric_quantize_inputs:bool
8 FULLY_CONNECTED fused_activation_function:Activation weights_format:WeightsFormat keep_num_dims:bool asymmetric_quantize_inputs:bool quantized_bias_type:TensorType
9 SOFTMAX beta:float
10 CONCATENATION axis:int fused_activation_function:Activation
11 ADD fused_activation_function:Activation pot_scale_int16:bool=1
12 L2_NORMALIZATION fused_activation_function:Activation
13 LOCAL_RESPONSE_NORMALIZATION radius:int bias:float alpha:float beta:float
14 LSTM fused_activation_function:Activation cell_clip:float proj_clip:float kernel_type:LstmKernel asymmetric_quantize_inputs:bool
15 RESIZE_BILINEAR -:int -:int align_corners:bool half_pixel_centers:bool
16 CALL subgraph:uint
17 RESHAPE new_shape:ints
18 SKIP_GRAM ngram_size:int max_skip_size:int include_all_ngrams:bool
19 SPACE_TO_DEPTH block_size:int+
20 EMBEDDING_LOOKUP_SPARSE combiner:Combiner
21 MUL fused_activation_function:Activation
22 PAD
23 GATHER axis:int batch_dims:int
24 BATCH_TO_SPACE_ND
25 SPACE_TO_BATCH_ND
26 TRANSPOSE
27 MEAN,SUM,REDUCE_PROD,REDUCE_MAX,REDUCE_MIN,REDUCE_ANY,REDUCE_ALL keep_dims:bool
28 SUB fused_activation_function:Activation pot_scale_int16:bool=1
29 DIV fused_activation_function:Activation
30 SQUEEZE squeeze_dims:ints
31 UNIDIRECTIONAL_SEQUENCE_RNN time_major:bool fused_activation_function:Activation asymmetric_quantize_inputs:bool
32 STRIDED_SLICE begin_mask:int end_mask:int ellipsis_mask:int new_axis_mask:int shrink_axis_mask:int offset:bool
33 EXP
34 TOPK_V2
35 SPLIT num_splits:int+
36 LOG_SOFTMAX
37 CAST in_data_type:TensorType out_data_type:TensorType
38 DEQUANTIZE
39 MAXIMUM,MINIMUM
40 ARG_MAX output_type:TensorType
41 LESS
42 NEG
43 PADV2
44 GREATER
45 GREATER_EQUAL
46 LESS_EQUAL
47 SELECT
48 SLICE
49 TRANSPOSE_CONV padding:Padding stride_w:int+ stride_h:int+ fused_activation_function:Activation quantized_bias_type:TensorType
50 SPARSE_TO_DENSE validate_indices:bool
51 TILE
52 EXPAND_DIMS
53 EQUAL
54 NOT_EQUAL
55 SHAPE out_type:TensorType
56 POW
57 ARG_MIN output_type:TensorType
58 FAKE_QUANT min:float max:float num_bits:int narrow_range:bool
59 PACK values_count:int axis:int
60 LOGICAL_OR
61 ONE_HOT axis:int
62 LOGICAL_AND
63 LOGICAL_NOT
64 UNPACK num:int axis:int
65 FLOOR_DIV
66 SQUARE
67 ZEROS_LIKE
68 FILL
69 BIDIRECTIONAL_SEQUENCE_LSTM fused_activation_function:Activation cell_clip:float proj_clip:float merge_outputs:bool time_major:bool=1 asymmetric_quantize_inputs:bool
70 BIDIRECTIONAL_SEQUENCE_RNN time_major:bool fused_activation_function:Activation merge_outputs:bool asymmetric_quantize_inputs:bool
71 UNIDIRECTIONAL_SEQUENCE_LSTM fused_activation_function:Activation cell_clip:float proj_clip:float time_major:bool asymmetric_quantize_inputs:bool diagonal_recurrent_tensors:bool
72 FLOOR_MOD
73 RANGE
74 RESIZE_NEAREST_NEIGHBOR align_corners:bool half_pixel_centers:bool
75 LEAKY_RELU alpha:float
76 SQUARED_DIFFERENCE
77 MIRROR_PAD mode:MirrorPad
78 ABS
79 SPLIT_V num_splits:int+
80 UNIQUE idx_out_type:TensorType=2
81 REVERSE_V2
82 ADD_N
83 GATHER_ND
84 COS
85 WHERE
86 RANK
87 REVERSE_SEQUENCE seq_dim:int batch_dim:int
88 MATRIX_DIAG
89 QUANTIZE
90 MATRIX_SET_DIAG
91 HARD_SWISH
92 IF then_subgraph_index:int else_subgraph_index:int
93 WHILE cond_subgraph_index:int body_subgraph_index:int
94 DEPTH_TO_SPACE block_size:int+
95 NON_MAX_SUPPRESSION_V4
96 NON_MAX_SUPPRESSION_V5
97 SCATTER_ND
98 SELECT_V2
99 DENSIFY
100 SEGMENT_SUM
101 BATCH_MATMUL adj_x:bool adj_y:bool asymmetric_quantize_inputs:bool
102 CUMSUM exclusive:bool reverse:bool
103 CALL_ONCE init_subgraph_index:int
104 BROADCAST_TO
105 RFFT2D
106 CONV_3D,CONV_3D_TRANSPOSE padding:Padding stride_d:int+ stride_w:int+ stride_h:int+ fused_activation_function:Activation dilation_d_factor:int+=1 dilation_w_factor:int+=1 dilation_h_factor:int+=1
107 HASHTABLE table_id:int key_dtype:TensorType value_dtype:TensorType
108 HASHTABLE_FIND
109 HASHTABLE_IMPORT
110 HASHTABLE_SIZE
111 VAR_HANDLE container:string shared_name:string
112 READ_VARIABLE
113 ASSIGN_VARIABLE
114 RANDOM_STANDARD_NORMAL,RANDOM_UNIFORM,MULTINOMIAL seed:long seed2:long
115 BUCKETIZE boundaries:floats
116 GELU approximate:bool
117 DYNAMIC_UPDATE_SLICE
118 UNSORTED_SEGMENT_PROD
119 UNSORTED_SEGMENT_MAX
120 UNSORTED_SEGMENT_MIN
121 UNSORTED_SEGMENT_SUM
122 ATAN2
123 SIGN
124 BITCAST
125 BITWISE_XOR
126 RIGHT_SHIFT
0 BROADCAST_ARGS,CEIL,COMPLEX_ABS,ELU,EMBEDDING_LOOKUP,FLOOR,HASHTABLE_LOOKUP,IMAG,LOG,LOGISTIC,PRELU,REAL,RELU,RELU6,RELU_0_TO_1,RELU_N1_TO_1,ROUND,RSQRT,SIN,SQRT,TANH
"""  # noqa: E501  a table reads best with a row a line


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an options table: `slot` is its number there, `type` a word of `ZEROS` or of `ENUMS`."""

    name: str
    slot: int
    type: str
    default: Value
    positive: bool


@dataclass(frozen=True, slots=True)
class Options:
    """The options table of an operator; `number` 0 means that the operator has none."""

    number: int
    fields: tuple[Field, ...]


ZEROS: dict[str, Value] = {
    "int": 0, "uint": 0, "long": 0, "float": 0.0, "bool": False, "string": "", "ints": (), "floats": (),
}  # fmt: skip


def _default(kind: str, text: str) -> Value:
    if kind in ENUMS:
        return ENUMS[kind][int(text or 0)]
    return type(ZEROS[kind])(int(text)) if text else ZEROS[kind]  # type: ignore[arg-type]


def _field(slot: int, text: str) -> Field:
    name, rest = text.split(":")
    kind, _, default = rest.partition("=")
    return Field(name, slot, kind.rstrip("+"), _default(kind.rstrip("+"), default), kind.endswith("+"))


def _options() -> dict[str, Options]:
    table: dict[str, Options] = {}
    for line in OPTIONS.strip().splitlines():
        number, kinds, *fields = line.split()
        known = tuple(_field(slot, text) for slot, text in enumerate(fields) if not text.startswith("-"))
        table |= {kind: Options(int(number), known) for kind in kinds.split(",")}
    return table


OPTIONS_OF: dict[str, Options] = _options()
