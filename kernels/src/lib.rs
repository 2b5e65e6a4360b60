//! Device memory, the Device trait and one folder per fused op.

