//! The promises of the firewall's manual, shown by packets: the real daemon keeps a configuration live on a node of network
//! namespaces, and packets arrive there or do not.
//!
//! Needs root, netfilter, and the tools of `make deps`. Each test has namespaces of its own.
mod connections;
mod filters;
mod floods;
mod ftp;
mod guest;
mod host;
mod ips;
mod rules;
mod site;
mod unlogged;
