# plot.gp - share of the measured roof of each row of a TSV that bench or attn-demo wrote.
#   gnuplot -e "tsv='bench.tsv'; svg='bench.svg'" bench/plot.gp
rows = int(system("grep -c . '".tsv."'")) - 1
set terminal svg size 1000, 120 + 22 * rows font "sans,12" background "white"
set output svg
set datafile separator "\t"
set datafile columnheaders
set title "Share of the roof measured in the same run"
set xlabel "share of the roof, %"
stats tsv using (100 * column("share")) nooutput
set xrange [0 : STATS_max > 100 ? 1.3 * STATS_max : 130]
set yrange [rows - 0.5 : -0.5]
set grid xtics
set style fill solid 0.8
unset key
set lmargin 42
set ytics nomirror
set arrow from 100, graph 0 to 100, graph 1 nohead dashtype 2
# A GPU has no threads to tell, and no roof for products.
threads(n) = n == 0 ? "" : sprintf(", %d thread%s", n, n == 1 ? "" : "s")
label(n) = sprintf("%s, %s, %s%s", strcol(1), strcol(2), strcol(3), threads(int(column("threads"))))
share(n) = n > 0 ? sprintf("  %.0f%%", 100 * n) : ""
rate(n) = sprintf("%s   %.1f %s", share(column("share")), \
    strcol("unit") eq "GB/s" ? column("gbs") : column("gflops"), strcol("unit"))
plot tsv using (50 * column("share")):0:(0):(100 * column("share")):($0 - 0.4):($0 + 0.4):ytic(label(0)) \
        with boxxyerror linecolor rgb "#4477aa", \
     tsv using (100 * column("share")):0:(rate(0)) with labels left
