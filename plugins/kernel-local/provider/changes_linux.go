package provider

import "golang.org/x/sys/unix"

func changes(st *unix.Stat_t) (modified, status int64) { return st.Mtim.Nano(), st.Ctim.Nano() }
