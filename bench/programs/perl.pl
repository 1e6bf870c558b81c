# Hashes, arrays and strings that grow, as in a script that reads logs.
use strict;
use warnings;
my ($turns, $total, %seen, @kept) = ($ARGV[0], 0);
for my $turn (1 .. $turns) {
    my %count;
    for my $i (1 .. 5000) {
        my $line = join ' ', "10.0." . ($i % 256) . ".7", "user" . ($i * $turn % 1000), "GET /page/$i", $i * 31 % 997;
        my @fields = split / /, $line;
        push @{ $count{ $fields[1] } }, \@fields;
        $seen{ $fields[2] }++;
    }
    for my $user (sort keys %count) {
        my $text = '';
        $text .= join(',', @$_) . "\n" for @{ $count{$user} };
        $total += length $text;
    }
    push @kept, \%count if $turn % 5 == 0;
    shift @kept if @kept > 4;
}
print "$total\n";
