package PVE::Service::pve_firewall;
use strict;
use warnings;

1;
