// Command mkimage makes small sample images, each in a directory of its own as
// an image builder leaves it: incus.tar.xz, rootfs.squashfs, disk.qcow2. Where
// mksquashfs is missing it leaves out the squashfs, and says so.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"example.com/publish/scripts/interop/fixture"
)

func main() {
	n := flag.Int("n", 1, "how many")
	name := flag.String("os", "sample", "the image's os; with more than one, a number follows")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: mkimage [-n N] [-os NAME] DIR")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 || *n < 1 {
		flag.Usage()
		os.Exit(2)
	}
	_, noSquashfs := exec.LookPath("mksquashfs")
	_, noBusybox := exec.LookPath("busybox")
	if noSquashfs != nil {
		fmt.Fprintln(os.Stderr, "mkimage: no mksquashfs here: virtual machines only, no containers")
	}
	for i, image := range fixture.Numbered(*n) {
		if image.OS = *name; *n > 1 {
			image.OS = fmt.Sprintf("%s%03d", *name, i)
		}
		image.Serial = image.OS
		image.Busybox = noBusybox == nil && i == 0
		dir := filepath.Join(flag.Arg(0), image.OS)
		err := errors.Join(image.Metadata(filepath.Join(dir, "incus.tar.xz")),
			image.QCOW2(filepath.Join(dir, "disk.qcow2")))
		if noSquashfs == nil {
			err = errors.Join(err, image.Squashfs(filepath.Join(dir, "rootfs.squashfs")))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "mkimage:", err)
			os.Exit(1)
		}
		fmt.Println(dir)
	}
}
