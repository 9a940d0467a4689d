# split.awk -v dir=DIR - cuts the stream of emit.m4 into files in DIR, at its "==> NAME" lines.
/^==> / {
    if (out)
        close(out)
    out = dir "/" $2
    next
}
{ print > out }
