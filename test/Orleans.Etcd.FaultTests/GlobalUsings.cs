global using Orleans.Etcd.FaultTests.Faults;
global using Orleans.Etcd.FaultTests.Network;
