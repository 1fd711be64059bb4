// What CUDA kernels use too is marked for both of their compiler's targets; other compilers know no such mark.
#pragma once

#if defined(__CUDACC__)
#define FKINV_HOST_DEVICE __host__ __device__
#else
#define FKINV_HOST_DEVICE
#endif
