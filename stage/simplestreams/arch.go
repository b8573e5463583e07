package simplestreams

// architectures is the list of shared/osarch in lxc/incus (v6.23). It maps every
// name and alias that clients know to the canonical name. Clients skip products
// with another architecture.
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

// Architecture returns the canonical name of an architecture's name or alias:
// x86_64 for amd64. ok is false if no client knows it.
func Architecture(name string) (canonical string, ok bool) {
	canonical, ok = architectures[name]
	return canonical, ok
}
