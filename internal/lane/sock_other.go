//go:build !linux && !darwin && !freebsd

package lane

import "errors"

func tune(uintptr, tuning) {}

func setCongestion(uintptr, string) error { return errors.ErrUnsupported }

func getCongestion(uintptr) string { return "" }

func setPacing(uintptr, uint64) error { return errors.ErrUnsupported }

func setLowEffort(uintptr) error { return errors.ErrUnsupported }

func readInfo(uintptr) (Info, error) { return Info{}, errors.ErrUnsupported }
