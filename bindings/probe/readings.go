package probe

import "github.com/holdfast-run/holdfast/bindings/nvml"

// Unknown stands for a reading that the GPU or the driver does not give.
const Unknown = -1

// Readings are a GPU's state, of all processes; Unknown where there is none.
type Readings struct {
	UsedBytes         int64 // of its memory
	BusyPercent       int   // of the last sample period: a kernel ran
	MemoryBusyPercent int   // memory was read or written
	PowerMilliwatts   int
	LimitMilliwatts   int
	CorrectedErrors   int64 // of memory, since the driver was loaded
	UncorrectedErrors int64
}

// manager reads GPUs through NVML; without it all is unknown.
type manager struct{ lib *nvml.Library }

// manage starts NVML if it is there. That it does not start is no reason not to
// use a GPU.
func (l *Libraries) manage() manager {
	if l.NVML == nil || l.NVML.Init() != nil {
		return manager{}
	}
	return manager{l.NVML}
}

func (m manager) close() {
	if m.lib != nil {
		_ = m.lib.Shutdown() // nothing depends on it
	}
}

func (m manager) driverVersion() string {
	if m.lib == nil {
		return ""
	}
	v, _ := m.lib.SystemGetDriverVersion() // "" on error
	return v
}

// of reads what it can; each reading fails by itself.
func (m manager) of(pciBusID string) Readings {
	r := Readings{Unknown, Unknown, Unknown, Unknown, Unknown, Unknown, Unknown}
	if m.lib == nil {
		return r
	}
	dev, err := m.lib.DeviceGetHandleByPCIBusID(pciBusID)
	if err != nil {
		return r
	}
	if mem, err := m.lib.DeviceGetMemoryInfo(dev); err == nil {
		r.UsedBytes = int64(mem.Used)
	}
	if u, err := m.lib.DeviceGetUtilizationRates(dev); err == nil {
		r.BusyPercent, r.MemoryBusyPercent = int(u.GPU), int(u.Memory)
	}
	if mw, err := m.lib.DeviceGetPowerUsage(dev); err == nil {
		r.PowerMilliwatts = int(mw)
	}
	if mw, err := m.lib.DeviceGetEnforcedPowerLimit(dev); err == nil {
		r.LimitMilliwatts = int(mw)
	}
	if n, err := m.lib.DeviceGetTotalEccErrors(dev, true); err == nil {
		r.CorrectedErrors = int64(n)
	}
	if n, err := m.lib.DeviceGetTotalEccErrors(dev, false); err == nil {
		r.UncorrectedErrors = int64(n)
	}
	return r
}
