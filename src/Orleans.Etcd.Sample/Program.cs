using System.Runtime.InteropServices;
using Orleans.Etcd.Sample;

const string usage = """
    usage: run-sample [--once] [--endpoints URL[,URL...]]
      --once        ends by itself; exit code 0 only if every step was seen to happen
      --endpoints   an etcd that runs already (default: $ETCD_ENDPOINTS, else it starts its own)
    """;

if (args is ["silo", _, _, _, _, _])
    return await SiloCommand.RunAsync(args[1..]);

var once = false;
var endpoints = Environment.GetEnvironmentVariable("ETCD_ENDPOINTS");
for (var i = 0; i < args.Length; i++)
{
    switch (args[i])
    {
        case "--once":
            once = true;
            break;
        case "--endpoints" when i + 1 < args.Length:
            endpoints = args[++i];
            break;
        case "--help" or "-h":
            Console.WriteLine(usage);
            return 0;
        default:
            Console.Error.WriteLine(args[i] == "--endpoints" ? "--endpoints needs a URL." : $"There is no option '{args[i]}'.");
            Console.Error.WriteLine(usage);
            return 2;
    }
}

using var stop = new CancellationTokenSource();
// SIGTERM too: the host of the client takes it for its own, and would end nothing but the client.
void Stop(PosixSignalContext signal)
{
    signal.Cancel = true;
    stop.Cancel();
}

using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
try
{
    return await new StadiumCommand(string.IsNullOrWhiteSpace(endpoints) ? null : endpoints, once).RunAsync(stop.Token);
}
catch (FileNotFoundException missing) when (missing.FileName == "etcd")
{
    Console.Error.WriteLine(missing.Message);
    return 1;
}
