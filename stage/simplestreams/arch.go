package simplestreams

// architectures is the list of lxc/incus shared/osarch (v6.23): every name and
// alias that a client knows, and the name that it makes of it. A client skips
// products of any other.
var architectures = map[string]string{
	"i686":                "i686",
	"i386":                "i686",
	"i586":                "i686",
	"386":                 "i686",
	"x86":                 "i686",
	"generic_32":          "i686",
	"x86_64":              "x86_64",
	"amd64":               "x86_64",
	"generic_64":          "x86_64",
	"x86_64_v1":           "x86_64",
	"x86_64_v2":           "x86_64",
	"x86_64_v3":           "x86_64",
	"x86_64_v4":           "x86_64",
	"armv6l":              "armv6l",
	"armel":               "armv6l",
	"arm":                 "armv6l",
	"armv7l":              "armv7l",
	"armhf":               "armv7l",
	"armhfp":              "armv7l",
	"armv7a_hardfp":       "armv7l",
	"armv7":               "armv7l",
	"armv7a_vfpv3_hardfp": "armv7l",
	"armv8l":              "armv8l",
	"aarch64":             "aarch64",
	"arm64":               "aarch64",
	"arm64_generic":       "aarch64",
	"ppc":                 "ppc",
	"powerpc":             "ppc",
	"ppc64":               "ppc64",
	"powerpc64":           "ppc64",
	"ppc64le":             "ppc64le",
	"ppc64el":             "ppc64le",
	"s390x":               "s390x",
	"mips":                "mips",
	"mipsel":              "mips",
	"mipsle":              "mips",
	"mips64":              "mips64",
	"mips64el":            "mips64",
	"mips64le":            "mips64",
	"riscv32":             "riscv32",
	"riscv64":             "riscv64",
	"loongarch64":         "loongarch64",
	"loong64":             "loongarch64",
}

// Architecture returns the name that a client makes of an architecture's name
// or alias (amd64 is x86_64). ok is false for one that no client knows.
func Architecture(name string) (canonical string, ok bool) {
	canonical, ok = architectures[name]
	return canonical, ok
}
