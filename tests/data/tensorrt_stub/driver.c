/* A libcuda.so.1 without a device behind it, for the states of a machine: it answers what backends/edgebench_tensorrt/machine.py
 * asks, as a Jetson Orin would, or, compiled with -DSTATUS=100, as a driver that finds no GPU. Ours. */
#include <stddef.h>
#include <string.h>

#ifndef STATUS
#define STATUS 0
#endif

int cuInit(unsigned flags) { return STATUS; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 0; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Orin", size); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)8 << 30; return 0; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 18;  /* major, minor, integrated */
    return 0;
}
