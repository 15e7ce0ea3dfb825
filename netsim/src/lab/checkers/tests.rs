//! Tests of the checkers: each must be able to fail.

