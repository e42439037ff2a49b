package PVE::Firewall;
use strict;
use warnings;

sub version { return "@VERSION@" }

1;
