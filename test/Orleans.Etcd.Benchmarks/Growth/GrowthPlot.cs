using System.Globalization;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Legends;
using OxyPlot.Series;

namespace Orleans.Etcd.Benchmarks;

/// <summary>How many times as long an operation takes as with the fewest things, over how many there are; both logarithmic.</summary>
internal static class GrowthPlot
{
    /// <summary>The picture, as SVG.</summary>
    public static string Draw(IEnumerable<Figure> figures)
    {
        var model = new PlotModel { Title = "Cost of one operation, with 10 things = 1", Background = OxyColors.White };
        model.Axes.Add(new LogarithmicAxis { Position = AxisPosition.Bottom, Title = "things of the kind", MajorGridlineStyle = LineStyle.Dot });
        model.Axes.Add(new LogarithmicAxis { Position = AxisPosition.Left, Title = "times as long", MajorGridlineStyle = LineStyle.Dot, Minimum = 0.25 });
        model.Legends.Add(new Legend { LegendPlacement = LegendPlacement.Outside, LegendPosition = LegendPosition.RightTop, LegendFontSize = 10, LegendLineSpacing = 4 });
        // Yellow is hardly seen on white.
        model.DefaultColors = [.. model.DefaultColors.Where(color => color != OxyColors.Yellow)];
        foreach (var operation in figures.Where(figure => figure.Metric == GrowthBenchmark.LatencyMetric).GroupBy(figure => figure.Case))
        {
            var line = new LineSeries { Title = operation.Key, MarkerType = MarkerType.Circle, MarkerSize = 3 };
            line.Points.AddRange(operation.Select(figure => new DataPoint(double.Parse(figure.Subject, CultureInfo.InvariantCulture), figure.RatioMedian ?? 1)));
            model.Series.Add(line);
        }

        return new SvgExporter { Width = 1200, Height = 520 }.ExportToString(model);
    }
}
