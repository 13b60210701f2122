//! `FormatMessage`: the texts of error codes.
