// Package nvml binds NVIDIA's management library (libnvidia-ml.so.1): what GPUs
// the machine has, how full, how busy and how well they are. It comes with the
// driver. It sees all GPUs of the machine, in the order of the bus: find the one
// that package cuda uses by its PCI bus ID.
//
//	m, err := nvml.Open("") // dynload.MissingLibraryError: there is no driver
//	err = m.Init()
//	defer m.Shutdown()
//	dev, err := m.DeviceGetHandleByPCIBusID("0000:1b:00.0")
//
// Many GPUs lack some of the readings: errors.Is(err, nvml.NotSupported). Every
// method is safe for concurrent use.
package nvml
