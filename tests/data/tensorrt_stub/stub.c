/* What NVIDIA's Python bindings of TensorRT need to be imported without TensorRT: the C functions that they are linked to.
 * Each creates nothing. The classes, enums and signatures come from the bindings themselves; this file is ours.
 * One file makes all three libraries, which differ by -Wl,-soname only: a symbol that is there twice does no harm. */
#include <stddef.h>
#include <stdint.h>

void *createInferBuilder_INTERNAL(void *logger, int32_t version) { return NULL; }
void *createInferRuntime_INTERNAL(void *logger, int32_t version) { return NULL; }
void *createInferRefitter_INTERNAL(void *engine, void *logger, int32_t version) { return NULL; }
void *createNvOnnxParser_INTERNAL(void *network, void *logger, int32_t version) { return NULL; }
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int32_t version) { return NULL; }
void *getBuilderPluginRegistry(int32_t capability) { return NULL; }
void *getPluginRegistry(void) { return NULL; }
int32_t getNvOnnxParserVersion(void) { return 0; }
_Bool initLibNvInferPlugins(void *logger, char const *name_space) { return 0; }
