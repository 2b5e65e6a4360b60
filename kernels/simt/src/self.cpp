// Which emulated thread runs on this OS thread: thread-local storage that C++ kernels reach without a call.
extern "C" {
__thread void* simt_self = nullptr;
void** simt_self_slot() { return &simt_self; }
}
