using BenchmarkDotNet.Attributes;
using Google.Protobuf;
using Microsoft.Extensions.DependencyInjection;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Found by BenchmarkDotNet, which makes it by itself; what it measures is therefore static.</summary>
public class LocalPaths
{
    public const string ViewGet = "IConfigView.Get";

    private const string Key = "max-open";
    private const int Gateways = 100;

    private Subjects _subjects = null!;

    internal static Subjects? Current { get; set; }

    [GlobalSetup]
    public void Take() => _subjects = Current ?? throw new InvalidOperationException("Nothing was started to measure.");

    [Benchmark(Description = "GetGateways, 100")]
    public int GetGateways() => _subjects.Gateways.GetGatewaysAsync().GetAwaiter().GetResult().Count;

    [Benchmark(Description = ViewGet)]
    public int Get() => _subjects.View.Get(Key)!.Bytes.Length;

    [Benchmark(Description = "IConfigView.Get<int>")]
    public int GetInt32() => _subjects.View.Get<int>(Key);

    [Benchmark(Description = "IConfigView.GetAll, 100 keys")]
    public int GetAll() => _subjects.View.GetAll().Values.Count;

    [Benchmark(Description = "encode a silo's row")]
    public int EncodeRow() => MembershipCodec.Encode(_subjects.Entry, _subjects.WriteId).Length;

    [Benchmark(Description = "decode a silo's row")]
    public object? DecodeRow() => _subjects.Decode(known: null);

    [Benchmark(Description = "decode a silo's row that was known")]
    public object? DecodeKnownRow() => _subjects.Decode(_subjects.Entry);

    [Benchmark(Description = "encode a heartbeat")]
    public int EncodeHeartbeat() => MembershipCodec.Encode(_subjects.Entry.IAmAliveTime).Length;

    /// <summary>What is measured, with a real etcd behind it.</summary>
    internal sealed class Subjects : IAsyncDisposable
    {
        private const string Namespace = "allocations";

        private readonly ByteString _row;
        private readonly ByteString _silo;

        private Subjects(MembershipLayout layout, EtcdGatewayListProvider gateways, IConfigView view)
        {
            (Gateways, View) = (gateways, view);
            _row = MembershipCodec.Encode(Entry, WriteId);
            _silo = ByteString.CopyFrom(layout.RowKey(Entry.SiloAddress).Span[layout.SilosPrefix.Length..]);
        }

        public EtcdGatewayListProvider Gateways { get; }

        public IConfigView View { get; }

        public MembershipEntry Entry { get; } = Silos.Entry(7);

        public string WriteId { get; } = Guid.NewGuid().ToString("N");

        public static async Task<Subjects> StartAsync(BareEtcd bare, EtcdConnection etcd, ConfigHosts hosts, CancellationToken cancellationToken)
        {
            var cluster = new EtcdTable(bare, etcd, "allocations");
            await cluster.FillAsync(LocalPaths.Gateways, cancellationToken);
            var gateways = cluster.OpenGateways();
            await gateways.GetGatewaysAsync(cancellationToken);

            var (serving, _) = await hosts.SilosAsync(Namespace);
            var edits = Enumerable.Range(0, 99).Select(number => ConfigEdit.Set($"key{number}", $"{number}")).Append(ConfigEdit.Set(Key, "200"));
            var committed = await hosts.Client.GetGrain<IConfigGrain>(Namespace).Commit(new ConfigCommit { Edits = [.. edits] });
            var view = serving.GetRequiredKeyedService<IConfigView>(Namespace);
            await view.ReadyAsync(committed.Revision, cancellationToken);
            return new Subjects(cluster.Layout, gateways, view);
        }

        public MembershipEntry? Decode(MembershipEntry? known) => SiloRowReader.TryRead(_row.Span, _silo.Span, known);

        public ValueTask DisposeAsync() => Gateways.DisposeAsync();
    }
}
