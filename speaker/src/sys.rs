//! Everything that needs the kernel's raw interfaces: packet sockets and the
//! end of privilege. All `unsafe` code of the project is below this module.

pub mod filter;
pub mod packet;
pub mod privileges;
