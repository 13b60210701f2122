//! Programs for Windows, compiled by `ovl cc` and `ovl c++` and run.

mod bench;
mod headers;
mod programs;
