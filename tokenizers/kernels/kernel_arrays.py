"""Names for the types of the arrays that compiled kernels take and give, by what one element is."""

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
UInt32s = npt.NDArray[np.uint32]
UInt64s = npt.NDArray[np.uint64]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
# One machine type to Numba, 64 bits with a sign; two types to Python, where kernels run as they are written in tests.
Integer = int | np.int64
# The three integers of a word of at most 24 bytes.
WordKey = tuple[np.uint64, np.uint64, np.uint64]
