//! Tests of this op.
