using System.Globalization;
using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>What a silo reads of the table after etcd was restored from a backup, while the silo goes on.</summary>
public abstract class TableRestoreTests(string version)
{
    private static readonly ClusterOptions Options = new() { ServiceId = "service", ClusterId = "cluster" };

    /// <summary>No comparison of revisions tells the one write from the other; that the watch has begun a new epoch does.</summary>
    [Fact]
    public async Task ReadAll_AnotherWriteHasTheRevisionOfALostOne_IsTheOther()
    {
        await using var scene = await Scene.StartAsync(version);
        await scene.RestoreAndWriteAsync();
        await scene.AssertReadsWhatIsWrittenAsync(await scene.Table.ReadAllAsync());
    }

    /// <summary>The restore comes once it is chosen what is compared, and before etcd is asked.</summary>
    [Fact]
    public async Task ReadAll_ThatSomethingIsLostUnder_IsOfWhatIsThere()
    {
        await using var scene = await Scene.StartAsync(version);
        var read = await Task.Run(() =>
        {
            scene.Time.OnNextTimestamp(() => scene.RestoreAndWriteAsync().GetAwaiter().GetResult());
            return scene.Table.ReadAllAsync();
        });
        await scene.AssertReadsWhatIsWrittenAsync(read);
    }

    /// <summary>A table that has read, and watched, what etcd is about to lose.</summary>
    private sealed class Scene : IAsyncDisposable
    {
        private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);
        private readonly CancellationTokenSource _limit = new(Limit);
        private readonly EtcdServer _server;
        private readonly EtcdConnection _others;
        private readonly EtcdConnection _etcd;
        private readonly EtcdMembershipTable _other;
        private MembershipTableData _lost = null!;
        private int _epoch;

        private Scene(EtcdServer server)
        {
            _server = server;
            (_others, _etcd) = (server.Connect(), server.Connect(time: Time));
            (_other, Table) = (_others.Table(Options), _etcd.Table(Options));
        }

        public InterruptedTime Time { get; } = new();

        public EtcdMembershipTable Table { get; }

        public static async Task<Scene> StartAsync(string version)
        {
            var scene = new Scene(await EtcdServer.StartAsync(new() { BinaryPath = EtcdBinary.Find(version) }));
            await scene._other.InitializeMembershipTableAsync(true);
            await scene._other.InsertAsync(Silos.Entry(1), Silos.Entry(2));
            await scene._server.BackUpAsync();
            await scene.WriteAsync(1);
            await scene.Table.InitializeMembershipTableAsync(true);
            scene._epoch = (await scene.Table.View.WaitAsync(view => view.Values.Count == 3, scene._limit.Token)).Epoch;
            scene._lost = await scene.Table.ReadAllAsync();
            return scene;
        }

        /// <summary>Restores what was before the table read, and gives the revisions that were lost to other writes; waits until the watch shows it.</summary>
        public async Task RestoreAndWriteAsync()
        {
            await _server.RestoreAsync();
            await Table.View.WaitAsync(view => view.Epoch > _epoch, _limit.Token);
            await WriteAsync(2);
            var version = (await _other.ReadRowAsync(Silos.Address(2))).Version;
            Assert.Equal(_lost.Version.VersionEtag, version.VersionEtag);
            var seen = await Table.View.WaitAsync(view => view.Revision.ToString(CultureInfo.InvariantCulture) == version.VersionEtag, _limit.Token);
            Assert.True(seen.Epoch > _epoch);
        }

        public async Task AssertReadsWhatIsWrittenAsync(MembershipTableData read)
        {
            await using var fresh = _others.Table(Options);
            Assert.Equal((await fresh.ReadAllAsync()).Describe(), read.Describe());
            Assert.NotEqual(_lost.Describe(), read.Describe());
        }

        public async ValueTask DisposeAsync()
        {
            await Table.DisposeAsync();
            await _other.DisposeAsync();
            await _etcd.DisposeAsync();
            await _others.DisposeAsync();
            await _server.DisposeAsync();
            _limit.Dispose();
        }

        /// <summary>A heartbeat and a status of one silo.</summary>
        private async Task WriteAsync(int silo)
        {
            await _other.UpdateIAmAliveAsync(Silos.Entry(silo, alive: Silos.Epoch.AddMinutes(silo)));
            var read = await _other.ReadRowAsync(Silos.Address(silo));
            Assert.True(await _other.UpdateRowAsync(Silos.Entry(silo, SiloStatus.ShuttingDown), read.Members.Single().Item2, read.Version.Next()));
        }
    }

    /// <summary>The system's time, which lets something happen just when somebody looks at it.</summary>
    private sealed class InterruptedTime : TimeProvider
    {
        private readonly AsyncLocal<Action?> _next = new();

        /// <summary>Once, when the caller, and not somebody else, asks next.</summary>
        public void OnNextTimestamp(Action action) => _next.Value = action;

        public override long GetTimestamp()
        {
            var next = _next.Value;
            _next.Value = null;
            next?.Invoke();
            return base.GetTimestamp();
        }
    }
}

[Trait("Category", "Long")]
public sealed class TableRestoreOn34() : TableRestoreTests("3.4");

public sealed class TableRestoreOn35() : TableRestoreTests("3.5");
