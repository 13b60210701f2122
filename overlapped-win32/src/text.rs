//! The functions of the C run-time library that Microsoft has and others have not.
