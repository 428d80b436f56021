"""Fused kernels: a whole chain of processors, the draw and the normaliser in a few passes over the vocabulary.

`decodelab.kernels.fused` is what others call; `decodelab.kernels.compiled` is compiled by numba when first needed.
"""
